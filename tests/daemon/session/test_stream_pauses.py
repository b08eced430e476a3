"""What a live stream does with pauses and long segments: finals ahead, first passes, early ends, windows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np

from loud_speech import lengths, silence, speech
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import Cutter, Result
from parakeetd.session.stream import LiveStream
from parakeetd.vad import Segmentation

WAIT_SECONDS = 10.0
PAUSING = Segmentation(
    end_silence_ms=400, trailing_pad_ms=100, pre_roll_ms=0, max_segment_ms=2_000, overlap_ms=0
)


class LoudIsSpeech:
    frame_samples = 320
    hangover_frames = 0

    def are_speech(self, frames: Samples) -> list[bool]:
        return [bool(np.abs(frame).max() > 0.05) for frame in frames]


async def heard(
    engine: FakeEngine,
    *chunks: Samples | threading.Event,
    segmentation: Segmentation = PAUSING,
    interim: bool = False,
) -> list[Result]:
    """Results of chunks that come one by one; an event among them is set when it is its turn."""
    router = Router({"cpu": lambda: engine})

    async def spoken() -> AsyncIterator[Samples]:
        for chunk in chunks:
            if isinstance(chunk, threading.Event):
                chunk.set()
            else:
                yield chunk
            await asyncio.sleep(0.05)

    live = LiveStream(
        spoken(),
        Cutter(LoudIsSpeech(), segmentation),
        router,
        interim=interim,
        idle_seconds=WAIT_SECONDS,
        stop_input=asyncio.Event(),
    )
    try:
        async with asyncio.timeout(WAIT_SECONDS), aclosing(live.results()) as results:
            return [result async for result in results]
    finally:
        router.close(WAIT_SECONDS)


SLOWLY = [silence(0.02)] * 15
"""Time for the engine to answer before the segment ends."""


async def test_a_final_is_recognised_in_the_pause_and_not_again_at_its_end() -> None:
    engine = FakeEngine()
    results = await heard(engine, speech(1.0), silence(0.2), silence(0.3))
    assert lengths(results) == ["1100ms"]
    assert engine.pieces == [17_600]


async def test_what_was_recognised_ahead_is_thrown_away_when_speech_resumes() -> None:
    engine = FakeEngine()
    results = await heard(engine, speech(0.5), silence(0.2), speech(0.5), silence(0.2), silence(0.3))
    assert lengths(results) == ["1300ms"]
    # On a slow machine speech has resumed before it was begun.
    assert engine.pieces in ([9_600, 20_800], [20_800])


async def test_what_waits_to_be_recognised_ahead_is_asked_for_anew_as_a_final() -> None:
    engine = FakeEngine(gate=threading.Event())
    assert engine.gate is not None
    # The engine is held at the first segment until the second has ended.
    results = await heard(
        engine, speech(0.5), silence(0.5), speech(0.3), silence(0.2), silence(0.3), engine.gate
    )
    assert lengths(results) == ["600ms", "400ms"]
    assert engine.pieces == [9_600, 6_400]


async def test_what_failed_when_it_was_recognised_ahead_is_recognised_at_its_end() -> None:
    assert lengths(await heard(FakeEngine(failures=1), speech(0.5), silence(0.2), silence(0.3))) == ["600ms"]


async def test_a_pause_is_an_interim_too() -> None:
    results = await heard(FakeEngine(), speech(0.05), silence(0.2), *SLOWLY, interim=True)
    assert [(result.text, result.is_final) for result in results][-2:] == [("160ms", False), ("160ms", True)]


async def test_a_first_pass_tells_the_whole_text_with_stability_one_before_the_end() -> None:
    settings = replace(PAUSING, eou_silence_ms=220)
    results = await heard(
        FakeEngine(), speech(0.5), silence(0.2), *SLOWLY, segmentation=settings, interim=True
    )
    told = [(result.text, result.is_final) for result in results if result.stability == 1]
    assert told == [("600ms", False), ("600ms", True)]


async def test_a_segment_whose_text_has_settled_may_end_early() -> None:
    class SaysOne(FakeEngine):
        def recognize(
            self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
        ) -> list[Transcript]:
            return [Transcript("one", (Word("one", 0.0, 0.3, 1.0),), confidence=1.0) for _ in audio]

    chunks = [speech(0.5), silence(0.2), silence(0.02), silence(0.02)]
    early = replace(PAUSING, early_end_ms=200)

    async def finals(segmentation: Segmentation) -> list[float]:
        results = await heard(SaysOne(), *chunks, *[silence(0.02)] * 20, segmentation=segmentation)
        return [round(result.audio_seconds, 2) for result in results]

    assert await finals(PAUSING) == [0.9]
    [at] = await finals(early)
    assert 0.7 <= at < 0.9


async def test_interims_of_a_long_segment_hear_a_bounded_part_of_it_and_tell_all_of_it() -> None:
    class CountsHalfSeconds(FakeEngine):
        """Samples say which half second of the stream they are of: each is a word."""

        def recognize(
            self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
        ) -> list[Transcript]:
            self.batches.append([len(samples) for samples in audio])
            return [self.transcript(samples) for samples in audio]

        def transcript(self, samples: Samples) -> Transcript:
            numbers = np.round(samples * 1000).astype(int)
            found = []
            for number in np.unique(numbers):
                place = np.flatnonzero(numbers == number)
                if len(place) == SAMPLE_RATE // 2:
                    start, end = place[0] / SAMPLE_RATE, (place[-1] + 1) / SAMPLE_RATE
                    found.append(Word(f"w{number}", float(start), float(end), 1.0))
            return Transcript(" ".join(word.text for word in found), tuple(found), confidence=1.0)

    engine = CountsHalfSeconds()
    router = Router({"cpu": lambda: engine})
    spoken: asyncio.Queue[Samples | None] = asyncio.Queue()

    async def chunks() -> AsyncIterator[Samples]:
        while (chunk := await spoken.get()) is not None:
            yield chunk

    live = LiveStream(
        chunks(),
        Cutter(LoudIsSpeech(), replace(PAUSING, max_segment_ms=20_000)),
        router,
        interim=True,
        idle_seconds=WAIT_SECONDS,
        stop_input=asyncio.Event(),
    )
    said = [f"w{100 + i}" for i in range(30)]
    try:
        async with asyncio.timeout(WAIT_SECONDS), aclosing(live.results()) as results:
            for i in range(30):
                await spoken.put(np.full(SAMPLE_RATE // 2, (100 + i) / 1000, np.float32))
                interim = await anext(results)
                assert (interim.text, interim.is_final) == (" ".join(said[: i + 1]), False)
            await spoken.put(None)
            final = await anext(results)
            assert (final.text, final.is_final) == (" ".join(said), True)
    finally:
        router.close(WAIT_SECONDS)
    assert max(engine.pieces[:-1]) <= 7 * SAMPLE_RATE
    assert engine.pieces[-1] == 15 * SAMPLE_RATE
