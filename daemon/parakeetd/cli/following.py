"""Follows the daemon's microphone: a session of our own, stopped by Ctrl-C, or all those that others start."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

from parakeetd.dictation import Event, State
from parakeetd.errors import CallFailed
from parakeetd.rpc.remote import RemoteMicrophone

AGAIN_SECONDS: Final = 1.0
"""A daemon that is not there is looked for again after so long."""


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no daemon. It is waited for."""

    problem: str


Happening = Event | Absent

Take = Callable[[Happening], Awaitable[None]]


async def followed(address: str, device: str, take: Take) -> State:
    """Start the microphone, hand over all that happens, and stop at SIGINT or SIGTERM; a second one waits for nothing.

    Args:
        address: of the daemon's socket.
        device: to start; as in `parakeetd start`.

    Returns:
        The last state: of the end of the session, whoever ended it.

    Raises:
        CallFailed: there is no daemon, or no microphone; anything that `take` raises.
    """
    watching = asyncio.Event()
    async with RemoteMicrophone(address) as microphone:
        with _interrupted() as interrupted:
            follow = asyncio.create_task(_session(microphone, take, watching))
            ready = asyncio.create_task(watching.wait())
            stop = asyncio.create_task(interrupted.wait())
            try:
                # Watched before it is started, so that nothing is missed.
                await asyncio.wait({follow, ready}, return_when=asyncio.FIRST_COMPLETED)
                if not follow.done():
                    await microphone.start(device)
                    await asyncio.wait({follow, stop}, return_when=asyncio.FIRST_COMPLETED)
                if not follow.done():
                    await microphone.stop()
                return await follow
            finally:
                for task in (follow, ready, stop):
                    task.cancel()


async def followed_always(address: str, take: Take, *, levels: bool = False) -> None:
    """Hand over what happens in all sessions that others start, until SIGINT or SIGTERM. Starts and stops nothing; a
    daemon that is not there yet, or ends, is waited for.

    Raises:
        ListenError: it is no address; anything that `take` raises.
    """
    with _interrupted() as interrupted:
        follow = asyncio.create_task(_sessions(address, take, levels=levels))
        stop = asyncio.create_task(interrupted.wait())
        try:
            await asyncio.wait({follow, stop}, return_when=asyncio.FIRST_COMPLETED)
            if follow.done():
                await follow
        finally:
            for task in (follow, stop):
                task.cancel()
            await asyncio.gather(follow, stop, return_exceptions=True)


async def _session(microphone: RemoteMicrophone, take: Take, watching: asyncio.Event) -> State:
    begun, state = False, State()
    async with aclosing(microphone.watch(levels=True)) as events:
        async for event in events:
            watching.set()
            await take(event)
            if isinstance(event, State):
                state = event
                begun = begun or state.phase != "idle"
                if begun and state.phase == "idle":
                    break
    return state


async def _sessions(address: str, take: Take, *, levels: bool) -> NoReturn:
    told = ""
    while True:
        problem = "the daemon has ended"
        try:
            async with (
                RemoteMicrophone(address) as microphone,
                aclosing(microphone.watch(levels=levels)) as events,
            ):
                async for event in events:
                    told = ""
                    await take(event)
        except CallFailed as error:
            problem = str(error)
        if problem != told:
            told = problem
            await take(Absent(problem))
        await asyncio.sleep(AGAIN_SECONDS)


@contextmanager
def _interrupted() -> Iterator[asyncio.Event]:
    """An event that the first SIGINT or SIGTERM sets."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        interrupted.set()
        as_before()

    def as_before() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield interrupted
    finally:
        as_before()
