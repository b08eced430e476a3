"""Follows a session of the daemon's microphone from a terminal: started with it, stopped by Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from parakeetd.dictation import Event, State
from parakeetd.rpc.remote import RemoteMicrophone


async def followed(
    address: str, device: str, take: Callable[[Event], Awaitable[None]], *, stay: bool = False
) -> State:
    """Start the microphone, hand over all that happens, and stop at SIGINT or SIGTERM; a second one waits for nothing.

    Args:
        address: of the daemon's socket.
        device: to start; as in `parakeetd start`.
        stay: start and stop nothing, follow all sessions that others start.

    Returns:
        The last state: of the end of the session, whoever ended it.

    Raises:
        CallFailed: there is no daemon, or no microphone; anything that `take` raises.
    """
    interrupted = _interrupted()
    watching = asyncio.Event()
    async with RemoteMicrophone(address) as microphone:
        follow = asyncio.create_task(_follow(microphone, take, watching, stay=stay))
        ready = asyncio.create_task(watching.wait())
        stop = asyncio.create_task(interrupted.wait())
        try:
            # Watched before it is started, so that nothing is missed.
            await asyncio.wait({follow, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not follow.done():
                if not stay:
                    await microphone.start(device)
                await asyncio.wait({follow, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stay and not follow.done():
                return State()
            if not follow.done():
                await microphone.stop()
            return await follow
        finally:
            for task in (follow, ready, stop):
                task.cancel()


async def _follow(
    microphone: RemoteMicrophone,
    take: Callable[[Event], Awaitable[None]],
    watching: asyncio.Event,
    *,
    stay: bool,
) -> State:
    begun, state = False, State()
    async with aclosing(microphone.watch(levels=not stay)) as events:
        async for event in events:
            watching.set()
            await take(event)
            if isinstance(event, State):
                state = event
                begun = begun or state.phase != "idle"
                if begun and state.phase == "idle" and not stay:
                    break
    return state


def _interrupted() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        interrupted.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return interrupted
