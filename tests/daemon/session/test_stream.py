"""Live streams through a router whose engine has no model: order, limits, and that nothing accepted is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from itertools import pairwise

import numpy as np
import pytest

from loud_speech import lengths, speech
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError, Closed, DeviceError, IdleTimeout, Overloaded
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import Result, ServedModel, Sessions, SessionSettings, stream
from parakeetd.session.stream import MAX_UNDER_WAY
from parakeetd.vad import Segmentation

WAIT_SECONDS = 10.0
FAST = Segmentation(end_silence_ms=100, trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=2_000, overlap_ms=0)


@contextmanager
def serving(
    engine: FakeEngine, *, max_streams: int = 8, idle_seconds: float = WAIT_SECONDS
) -> Iterator[Sessions]:
    router = Router({"cpu": lambda: engine}, max_queued=64)
    # Without detection, so that what is cut follows from lengths alone.
    settings = SessionSettings(
        max_streams=max_streams, idle_seconds=idle_seconds, detector="off", segmentation=FAST
    )
    try:
        yield Sessions((ServedModel("fake", ("en-US",), router),), settings)
    finally:
        if engine.gate is not None:
            engine.gate.set()
        router.close(WAIT_SECONDS)


async def source(
    *chunks: Samples, error: Exception | None = None, hold: bool = False
) -> AsyncIterator[Samples]:
    for chunk in chunks:
        yield chunk
    if hold:
        await asyncio.Event().wait()
    if error is not None:
        raise error


async def collect(
    sessions: Sessions, chunks: AsyncIterator[Samples], *, interim: bool = False
) -> list[Result]:
    async with asyncio.timeout(WAIT_SECONDS), aclosing(sessions.stream(chunks, interim=interim)) as results:
        return [result async for result in results]


async def each(sessions: Sessions, chunks: AsyncIterator[Samples], take: Callable[[Result], object]) -> None:
    """Hand over results as they come, so that those before an error are seen."""
    async with asyncio.timeout(WAIT_SECONDS), aclosing(sessions.stream(chunks)) as results:
        async for result in results:
            take(result)


def router_load(sessions: Sessions) -> int:
    """Segments that wait in the router."""
    return sessions.models.named().router.queued


async def test_results_come_in_order_with_times_of_the_stream() -> None:
    with serving(FakeEngine()) as sessions:
        results = await collect(sessions, source(speech(5.0)))
    assert sum(int(text.removesuffix("ms")) for text in lengths(results)) == 5_000
    assert results[0].start == 0
    assert all(a.end == b.start for a, b in pairwise(results))
    assert [result.transcript.words[0].start for result in results] == [result.start for result in results]
    assert all(result.is_final and result.stability == 1 for result in results)


async def test_the_end_of_the_audio_answers_what_is_still_open() -> None:
    with serving(FakeEngine()) as sessions:
        assert lengths(await collect(sessions, source(speech(0.5), speech(0.25)))) == ["750ms"]


@pytest.mark.parametrize(("each_turn", "at_least", "at_most"), [(0.0, 50, 60), (3600.0, 0, 5)])
async def test_a_chunk_that_takes_its_time_gives_other_streams_their_turns(
    each_turn: float, at_least: int, at_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "TURN_SECONDS", each_turn)
    settings = SessionSettings(detector="off", segmentation=Segmentation(max_segment_ms=100_000))
    router = Router({"cpu": FakeEngine})
    turns, cut = 0, asyncio.Event()

    async def take_turns() -> None:
        nonlocal turns
        while not cut.is_set():
            turns += 1
            await asyncio.sleep(0)

    async def chunks() -> AsyncIterator[Samples]:
        nonlocal turns
        turns = 0
        yield speech(50.0)
        cut.set()

    try:
        sessions = Sessions((ServedModel("fake", ("en-US",), router),), settings)
        others = asyncio.create_task(take_turns())
        assert lengths(await collect(sessions, chunks())) == ["50000ms"]
        await others
    finally:
        router.close(WAIT_SECONDS)
    assert at_least <= turns <= at_most


async def test_a_segment_without_text_gives_no_result() -> None:
    with serving(FakeEngine()) as sessions:
        assert await collect(sessions, source(np.zeros(SAMPLE_RATE, np.float32))) == []


async def test_interims_grow_until_the_final_replaces_them() -> None:
    engine = FakeEngine()

    async def slowly() -> AsyncIterator[Samples]:
        for _ in range(10):
            yield speech(0.1)
            # The engine answers at once; give its answer the time to arrive, as a real-time source would.
            await asyncio.sleep(0.02)

    with serving(engine) as sessions:
        results = await collect(sessions, slowly(), interim=True)
    interims = [result for result in results if not result.is_final]
    assert lengths(results)[-1] == "1000ms"
    assert results[-1].is_final
    assert interims
    assert all(result.stability < 1 for result in interims)
    ends = [result.end for result in results]
    assert ends == sorted(ends)


async def test_interims_do_not_pile_up_before_a_slow_engine() -> None:
    engine = FakeEngine(gate=threading.Event())

    async def talking() -> AsyncIterator[Samples]:
        for _ in range(15):
            yield speech(0.1)
            await asyncio.sleep(0.01)
        if engine.gate is not None:
            engine.gate.set()

    with serving(engine) as sessions:
        results = await collect(sessions, talking(), interim=True)
    # One interim while the engine was busy with it, and the final.
    assert len(engine.pieces) == 2
    assert lengths(results)[-1] == "1500ms"


async def test_an_interim_that_waits_gives_its_place_to_the_newer_one_and_nobody_hears_of_it() -> None:
    engine = FakeEngine(gate=threading.Event())

    async def talking() -> AsyncIterator[Samples]:
        for _ in range(18):
            yield speech(0.1)
            await asyncio.sleep(0.01)
        if engine.gate is not None:
            engine.gate.set()
        # The interim that waits is computed before the final is cut.
        await asyncio.sleep(0.2)
        yield speech(0.05)

    with serving(engine) as sessions:
        busy = asyncio.create_task(collect(sessions, source(speech(0.2))))
        await asyncio.to_thread(engine.begun.wait, WAIT_SECONDS)
        results = await collect(sessions, talking(), interim=True)
        await busy
    # Audio of 0.1 to 1.6 s was asked for while the engine was busy with another stream; the newest was computed.
    assert engine.pieces == [3_200, 25_600, 29_600]
    assert lengths(results) == ["1600ms", "1850ms"]


async def test_results_keep_their_order_when_a_later_segment_is_computed_first() -> None:
    slow = FakeEngine(gate=threading.Event())
    quick = FakeEngine(gate=slow.begun)
    # The first segment goes to the GPU, which is held; the next would have to wait for it longer than the CPU takes.
    router = Router(
        {"cpu": lambda: quick, "cuda": lambda: slow},
        estimate=lambda device, seconds, count: count * (1.0 if device == "cuda" else 1.5),
    )
    for device in router.devices():
        router.open(device.device)
    settings = SessionSettings(detector="off", segmentation=FAST)
    sessions = Sessions((ServedModel("fake", ("en-US",), router),), settings)
    collecting = asyncio.create_task(collect(sessions, source(speech(7.0))))
    await asyncio.to_thread(slow.begun.wait, WAIT_SECONDS)
    await asyncio.to_thread(quick.begun.wait, WAIT_SECONDS)
    if slow.gate is not None:
        slow.gate.set()
    results = await collecting
    assert results[0].device == "cuda"
    assert "cpu" in {result.device for result in results}
    assert [result.start for result in results] == sorted(result.start for result in results)
    assert sum(int(text.removesuffix("ms")) for text in lengths(results)) == 7_000
    router.close(WAIT_SECONDS)


async def test_no_interims_unless_asked_for() -> None:
    engine = FakeEngine()
    with serving(engine) as sessions:
        await collect(sessions, source(*[speech(0.1)] * 10))
    assert engine.pieces == [SAMPLE_RATE]


async def test_an_error_in_the_audio_comes_after_what_was_accepted_before_it() -> None:
    with serving(FakeEngine()) as sessions:
        results: list[Result] = []
        with pytest.raises(AudioError, match="broken"):
            await each(sessions, source(speech(0.5), error=AudioError("broken")), results.append)
    assert lengths(results) == ["500ms"]


async def test_a_silent_source_is_ended_after_its_audio_is_answered() -> None:
    with serving(FakeEngine(), idle_seconds=0.05) as sessions:
        results: list[Result] = []
        with pytest.raises(IdleTimeout, match=r"0\.05 s"):
            await each(sessions, source(speech(0.5), hold=True), results.append)
    assert lengths(results) == ["500ms"]


async def test_one_stream_too_many_is_refused_with_the_limit_and_the_others_go_on() -> None:
    with serving(FakeEngine(), max_streams=1) as sessions:
        first = sessions.stream(source(speech(2.5), hold=True))
        assert (await anext(first)).is_final
        with pytest.raises(Overloaded, match=r"1 streams are open, the limit is 1 \(limits\.max_streams\)"):
            await collect(sessions, source(speech(1)))
        await first.aclose()
        assert lengths(await collect(sessions, source(speech(1)))) == ["1000ms"]


async def test_a_caller_that_leaves_frees_its_place_and_its_queued_segments() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with serving(engine) as sessions:
        waiting = asyncio.create_task(collect(sessions, source(speech(9.0))))
        await asyncio.to_thread(engine.begun.wait, WAIT_SECONDS)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert sessions.active == 0
        gate.set()
        await collect(sessions, source(speech(0.1)))
    # The piece that was running, and the new stream's: those that waited were dropped.
    assert len(engine.pieces) == 2
    assert engine.pieces[-1] == 1600


async def test_no_more_segments_are_read_than_may_be_under_way() -> None:
    read = 0

    async def counted() -> AsyncIterator[Samples]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield speech(2.0)

    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with serving(engine) as sessions:
        task = asyncio.create_task(collect(sessions, counted()))
        await asyncio.sleep(0.3)
        assert router_load(sessions) + len(engine.pieces) == MAX_UNDER_WAY
        assert read < 10
        gate.set()
        results = await task
    assert sum(int(text.removesuffix("ms")) for text in lengths(results)) == 200_000


async def test_a_segment_that_no_device_can_recognise_ends_the_stream_with_the_reason() -> None:
    with serving(FakeEngine(failures=1)) as sessions:
        with pytest.raises(DeviceError, match="told to fail"):
            await collect(sessions, source(speech(1)))
        assert sessions.active == 0


async def test_two_streams_at_once_get_their_own_words() -> None:
    with serving(FakeEngine()) as sessions:
        one, other = await asyncio.gather(
            collect(sessions, source(speech(0.4))), collect(sessions, source(speech(0.6)))
        )
    assert (lengths(one), lengths(other)) == (["400ms"], ["600ms"])


async def test_draining_lets_streams_end_and_refuses_new_ones() -> None:
    with serving(FakeEngine()) as sessions:
        last_words = asyncio.Event()

        async def talking() -> AsyncIterator[Samples]:
            yield speech(0.5)
            await last_words.wait()
            yield speech(0.25)

        stream = asyncio.create_task(collect(sessions, talking()))
        await asyncio.sleep(0.05)
        drain = asyncio.create_task(sessions.drain(WAIT_SECONDS, WAIT_SECONDS))
        await asyncio.sleep(0.05)
        with pytest.raises(Closed):
            await collect(sessions, source(speech(1)))
        last_words.set()
        assert await drain
        assert lengths(await stream) == ["750ms"]


async def test_draining_answers_a_stream_that_never_ends_and_then_ends_it() -> None:
    with serving(FakeEngine()) as sessions:
        results: list[Result] = []
        stream = asyncio.create_task(each(sessions, source(speech(0.5), hold=True), results.append))
        await asyncio.sleep(0.05)
        assert await sessions.drain(0.05, WAIT_SECONDS)
        with pytest.raises(Closed):
            await stream
    assert lengths(results) == ["500ms"]
