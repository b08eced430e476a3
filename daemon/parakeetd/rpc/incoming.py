"""The messages of one client's stream, turned into options and samples."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.client import ClientAudio
from parakeetd.errors import IdleTimeout, InputError
from parakeetd.rpc import wire
from parakeetd_proto import riva_asr_pb2 as asr

INLINE_BYTES: Final = 64 << 10
"""Longest piece of audio that is decoded in the event loop: a millisecond of work. Others go to a thread."""

SETTLE_SECONDS: Final = 0.02
"""A client that was killed looks like one that has finished until its cancellation arrives, right after."""


async def first_message(
    requests: AsyncIterator[asr.StreamingRecognizeRequest], limit_seconds: float
) -> asr.StreamingRecognizeRequest:
    """The first message of a stream.

    Raises:
        IdleTimeout: it did not come in time.
        InputError: the stream ended before it.
    """
    try:
        async with asyncio.timeout(limit_seconds):
            return await anext(requests)
    except TimeoutError:
        raise IdleTimeout(
            f"nothing was sent for {limit_seconds:g} s; the first message must carry streaming_config"
        ) from None
    except StopAsyncIteration:
        raise InputError(
            "the stream ended before its first message, which must carry streaming_config"
        ) from None


async def stream_samples(
    requests: AsyncIterator[asr.StreamingRecognizeRequest], audio: ClientAudio
) -> AsyncGenerator[Samples, None]:
    """The audio of all messages after the first, decoded; an empty array where a message completes no sample.

    Raises:
        AudioError: it cannot be decoded.
        InputError: a message carries a second configuration.
    """
    async for request in requests:
        data = wire.read_audio(request)
        yield await asyncio.to_thread(audio.feed, data) if len(data) > INLINE_BYTES else audio.feed(data)
    await asyncio.sleep(SETTLE_SECONDS)
    yield await asyncio.to_thread(audio.finish)


async def recording_samples(data: bytes, audio: ClientAudio) -> AsyncGenerator[Samples, None]:
    """A recording's samples, a second at a time.

    Raises:
        AudioError: it cannot be decoded.
    """

    def decode() -> tuple[Samples, Samples]:
        return audio.feed(data), audio.finish()

    for part in await asyncio.to_thread(decode):
        for start in range(0, len(part), SAMPLE_RATE):
            yield part[start : start + SAMPLE_RATE]
