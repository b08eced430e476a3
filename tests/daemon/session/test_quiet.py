"""What is done once nobody has spoken for a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

from loud_speech import speech
from parakeetd.audio import Samples
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.session.quiet import Quiet

PATIENCE = 30.0


async def test_it_is_done_in_a_thread_once_it_has_been_quiet() -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads: list[threading.Thread] = []

    def do() -> None:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(done.set)

    Quiet(do, 0.01).begin()
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert threads != [threading.current_thread()]


async def test_it_is_not_done_when_somebody_speaks_again() -> None:
    done: list[str] = []
    interrupted, undisturbed = Quiet(lambda: done.append("interrupted"), 0.02), asyncio.Event()
    loop = asyncio.get_running_loop()
    interrupted.begin()
    interrupted.end()
    # Due later than the other was.
    Quiet(lambda: loop.call_soon_threadsafe(undisturbed.set), 0.1).begin()
    await asyncio.wait_for(undisturbed.wait(), PATIENCE)
    assert not done


async def test_two_beginnings_are_one_quiet() -> None:
    done: list[int] = []
    quiet, later = Quiet(lambda: done.append(1), 0.01), asyncio.Event()
    loop = asyncio.get_running_loop()
    quiet.begin()
    quiet.begin()
    Quiet(lambda: loop.call_soon_threadsafe(later.set), 0.2).begin()
    await asyncio.wait_for(later.wait(), PATIENCE)
    assert done == [1]


async def test_sessions_are_quiet_when_the_last_stream_has_ended() -> None:
    quiet = asyncio.Event()
    loop = asyncio.get_running_loop()
    router = Router({"cpu": FakeEngine})
    sessions = Sessions(
        (ServedModel("fake", (), router),),
        SessionSettings(detector="off"),
        when_quiet=lambda: loop.call_soon_threadsafe(quiet.set),
    )

    async def spoken() -> AsyncIterator[Samples]:
        yield speech(0.5)

    try:
        async with aclosing(sessions.stream(spoken())) as results:
            assert [result.text async for result in results]
        await asyncio.wait_for(quiet.wait(), PATIENCE)
    finally:
        await sessions.drain(0, PATIENCE)
        router.close(PATIENCE)
