"""Recordings and files of any length: what is too long is refused, and nothing is held that need not be."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.client import ClientAudio, Encoding
from parakeetd.entrance.incoming import SHORT_BYTES, Patience, recording_samples
from parakeetd.entrance.limits import CallLimits
from parakeetd.rpc.incoming import stream_samples
from parakeetd.session import SessionSettings
from parakeetd_proto import riva_asr_pb2 as asr
from wire import Daemon, Serving, chunks, opening, pcm, silence, speech

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


async def recognized(daemon: Daemon, config: asr.RecognitionConfig, data: bytes) -> tuple[Any, str]:
    """How a recording ends."""
    try:
        await daemon.client.stub.Recognize(asr.RecognizeRequest(config=config, audio=data))
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def test_a_recording_that_is_too_long_is_refused(serving: Serving) -> None:
    async with serving(settings=SessionSettings(max_recording_seconds=2.0)) as daemon:
        assert (await recognized(daemon, pcm(), speech(2.0)))[0] is grpc.StatusCode.OK
        code, message = await recognized(daemon, pcm(), speech(2.1))
        # 8 kHz: the limit is of time, not of samples.
        slow = pcm(sample_rate_hertz=8_000)
        assert (await recognized(daemon, slow, speech(1.1)))[0] is EXHAUSTED
        # A stream has no such limit.
        assert len(await daemon.client.answers(opening(), *chunks(speech(2.5)))) == 1
    assert code is EXHAUSTED
    assert "longer than 2 s" in message
    assert "limits.max_recording_seconds" in message


def bomb(hours: float, *, announced: bool) -> bytes:
    """A small file that is hours of silence."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as sound:
        minute = np.zeros(60 * 8_000, np.int16)
        for _ in range(round(60 * hours)):
            sound.write(minute)
    data = bytearray(file.getvalue())
    if not announced:
        # STREAMINFO: the number of samples has 36 bits that end at byte 26; 0: unknown.
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
@pytest.mark.parametrize("way", ["recording", "stream"])
async def test_a_small_file_of_hours_is_refused_without_holding_them(
    serving: Serving, way: str, announced: bool
) -> None:
    data = bomb(3.0, announced=announced)
    assert len(data) < 1 << 20
    settings = SessionSettings(max_recording_seconds=120.0)
    config = asr.RecognitionConfig()
    async with serving(settings=settings) as daemon:
        tracemalloc.start()
        try:
            if way == "recording":
                code, message = await recognized(daemon, config, data)
            else:
                code, message = await daemon.client.refusal(opening(config), *chunks(data, 64_000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert code is EXHAUSTED
    assert "limit of 120 s" in message
    assert message.endswith("(limits.max_recording_seconds)")
    # All of it were 690 MB as samples, what is allowed 8 MB.
    assert peak < 40e6


@pytest.mark.parametrize("way", ["recording", "stream"])
async def test_an_allowed_file_is_decoded_no_faster_than_it_is_taken(way: str) -> None:
    data = bomb(0.5, announced=True)
    seconds = 1_800.0
    audio = ClientAudio(Encoding.UNSPECIFIED, 0, 0, max_container_seconds=seconds)
    message = asr.StreamingRecognizeRequest(audio_content=data)
    tracemalloc.start()
    try:
        if way == "recording":
            pieces = recording_samples(data, audio, seconds)
        else:
            pieces = stream_samples(given([message]), audio, Patience(60.0, 0.0))
        count = longest = 0
        async with aclosing(pieces):
            async for piece in pieces:
                count += len(piece)
                longest = max(longest, len(piece))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == seconds * SAMPLE_RATE
    assert longest <= 20 * SAMPLE_RATE
    # All of it is 115 MB as samples, twenty seconds are 1.3 MB.
    assert peak < 12e6


@pytest.mark.parametrize("way", ["recording", "stream"])
async def test_an_allowed_file_is_recognised_without_holding_all_of_it(serving: Serving, way: str) -> None:
    data = bomb(0.5, announced=True)
    settings = SessionSettings(max_recording_seconds=1_800.0, detector="off")
    config = asr.RecognitionConfig()
    async with serving(settings=settings) as daemon:
        tracemalloc.start()
        try:
            if way == "recording":
                code, message = await recognized(daemon, config, data)
                assert (code, message) == (grpc.StatusCode.OK, "")
            else:
                await daemon.client.answers(opening(config), *chunks(data, 64_000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # All of it is 115 MB as samples; a few segments of 20 s are under way.
    assert peak < 40e6


class Observed(ClientAudio):
    """Notes in which threads it decodes."""

    def __init__(self) -> None:
        super().__init__(Encoding.LINEAR_PCM, SAMPLE_RATE, 1)
        self.fed: set[int] = set()
        self.ended: set[int] = set()

    def feed(self, data: bytes) -> Samples:
        self.fed.add(threading.get_ident())
        return super().feed(data)

    def ending(self) -> Iterator[Samples]:
        for block in super().ending():
            self.ended.add(threading.get_ident())
            yield block


async def decoded(data: bytes) -> tuple[Observed, int]:
    """Who decoded a recording, and how many samples came of it."""
    audio = Observed()
    async with aclosing(recording_samples(data, audio, 60.0)) as pieces:
        return audio, sum([len(piece) async for piece in pieces])


async def test_an_utterance_waits_for_no_thread_and_a_long_recording_holds_up_nobody() -> None:
    here = {threading.get_ident()}
    short, samples = await decoded(speech(8.0))
    assert (samples, short.fed, short.ended) == (8 * SAMPLE_RATE, here, here)
    long, samples = await decoded(speech(8.5))
    assert samples == 8.5 * SAMPLE_RATE
    assert long.fed.isdisjoint(here)


async def test_a_small_file_is_decoded_in_a_thread_since_it_may_hold_hours() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(30 * SAMPLE_RATE, np.int16), SAMPLE_RATE, format="FLAC")
    audio, samples = await decoded(file.getvalue())
    assert len(file.getvalue()) < SHORT_BYTES
    assert samples == 30 * SAMPLE_RATE
    assert audio.ended.isdisjoint({threading.get_ident()})


async def given(
    requests: list[asr.StreamingRecognizeRequest],
) -> AsyncIterator[asr.StreamingRecognizeRequest]:
    for request in requests:
        yield request


async def test_a_recording_is_recognised_piece_by_piece(serving: Serving) -> None:
    file = io.BytesIO()
    samples = np.tile(np.frombuffer(speech(1.0) + silence(1.5), "<i2"), 12)
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC")
    async with serving() as daemon:
        request = asr.RecognizeRequest(config=asr.RecognitionConfig(), audio=file.getvalue())
        response = await daemon.client.stub.Recognize(request)
    assert len(response.results) == 12


async def test_a_message_over_a_configured_limit_is_refused(serving: Serving) -> None:
    async with serving(limits=CallLimits(max_message_mib=1)) as daemon:
        code, message = await recognized(daemon, pcm(), speech(34.0))
        assert (await recognized(daemon, pcm(), speech(30.0)))[0] is grpc.StatusCode.OK
    assert code is EXHAUSTED
    assert str(1 << 20) in message
