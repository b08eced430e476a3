"""The audio of one client's stream or recording, turned into samples, and how long it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Final, TypeVar

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.client import ClientAudio
from parakeetd.errors import IdleTimeout, TimeLimit, TooLong

_Message = TypeVar("_Message")

PIECE_BYTES: Final = 64 << 10
"""Longest piece of audio that is decoded in the event loop: a millisecond of work. Of longer messages such pieces are
decoded in a thread, one at a time: a message may hold hours."""

SHORT_BYTES: Final = 4 * PIECE_BYTES
"""A recording up to this is decoded in the event loop, piece by piece: an utterance of 8 s. To ask a thread takes as
long as to decode such a piece, and longer where many wait."""

LEAST_BYTES: Final = 320
"""Of audio, for a client to count as sending: 10 ms of samples. Who sends a byte now and then only holds a place."""


class Patience:
    """How long the client of one stream is waited for. Only time in which somebody waits for it counts: it is not
    blamed for audio that nobody has time to read."""

    def __init__(self, idle_seconds: float, stream_seconds: float) -> None:
        """
        Args:
            idle_seconds: the longest without audio.
            stream_seconds: the longest stream, from now on; 0: any.
        """
        self._idle_seconds = idle_seconds
        self._stream_seconds = stream_seconds
        self._clock = asyncio.get_running_loop()
        self._end = self._clock.time() + stream_seconds if stream_seconds else float("inf")
        self._waited = 0.0
        self._bytes = 0

    async def next(self, requests: AsyncIterator[_Message]) -> _Message | None:
        """The next message; None at the end of the stream.

        Raises:
            IdleTimeout: it did not come in time, nor did enough before it.
            TimeLimit: the stream has lasted too long.
        """
        asked = self._clock.time()
        idle_at = asked + self._idle_seconds - self._waited
        try:
            async with asyncio.timeout_at(min(idle_at, self._end)):
                request = await anext(requests, None)
        except TimeoutError:
            if self._clock.time() >= self._end:
                raise self._too_long() from None
            raise IdleTimeout(
                f"no audio came for {self._idle_seconds:g} s (limits.idle_seconds)"
                + (f": {self._bytes} bytes are none" if self._bytes else "")
            ) from None
        if request is not None and self._clock.time() >= self._end:
            raise self._too_long()
        self._waited += self._clock.time() - asked
        return request

    def heard(self, count: int) -> None:
        """So many bytes of audio came."""
        self._bytes += count
        if self._bytes >= LEAST_BYTES:
            self._waited, self._bytes = 0.0, 0

    def _too_long(self) -> TimeLimit:
        return TimeLimit(
            f"the stream has lasted {self._stream_seconds:g} s, the longest that is allowed "
            "(limits.max_stream_seconds); begin another"
        )


async def stream_samples(
    messages: AsyncIterator[_Message],
    audio_of: Callable[[_Message], bytes],
    audio: ClientAudio,
    patience: Patience,
    *,
    settle_seconds: float = 0.0,
) -> AsyncGenerator[Samples, None]:
    """The audio of all messages, decoded; an empty array where a message completes no sample.

    Args:
        audio_of: the audio in a message; what it raises ends the stream.
        settle_seconds: waited at the end, where a client that was killed first looks like one that has finished.

    Raises:
        AudioError: it cannot be decoded.
        IdleTimeout, TimeLimit: `patience` is at its end.
    """
    while (message := await patience.next(messages)) is not None:
        data = audio_of(message)
        patience.heard(len(data))
        if len(data) <= PIECE_BYTES:
            yield audio.feed(data)
            continue
        for piece in _pieces(data):
            yield await asyncio.to_thread(audio.feed, piece)
    await asyncio.sleep(settle_seconds)
    async for samples in _rest(audio):
        yield samples


async def recording_samples(
    data: bytes, audio: ClientAudio, most_seconds: float
) -> AsyncGenerator[Samples, None]:
    """A recording's samples, in pieces.

    Raises:
        AudioError: it cannot be decoded, or is longer than `most_seconds`.
    """
    count = 0
    for piece in _pieces(data):
        if len(data) <= SHORT_BYTES:
            samples = audio.feed(piece)
        else:
            samples = await asyncio.to_thread(audio.feed, piece)
        if (count := count + len(samples)) > most_seconds * SAMPLE_RATE:
            raise _over(most_seconds)
        yield samples
    async for samples in _rest(audio):
        if (count := count + len(samples)) > most_seconds * SAMPLE_RATE:
            raise _over(most_seconds)
        yield samples


async def _rest(audio: ClientAudio) -> AsyncGenerator[Samples, None]:
    """What is there at the end: of a compressed file, all of it."""
    blocks = audio.ending()
    if audio.decodes_at_once:
        for samples in blocks:
            yield samples
        return
    try:
        while held := await asyncio.to_thread(_some, blocks):
            yield np.concatenate(held)
    except TooLong as error:
        raise TooLong(f"{error} (limits.max_recording_seconds)") from error


def _some(blocks: Iterator[Samples]) -> list[Samples]:
    """About ten seconds of them; none at the end."""
    held: list[Samples] = []
    count = 0
    for block in blocks:
        held.append(block)
        if (count := count + len(block)) >= 10 * SAMPLE_RATE:
            break
    return held


def _over(most_seconds: float) -> TooLong:
    return TooLong(
        f"the recording is longer than {most_seconds:g} s, the limit for one request "
        "(limits.max_recording_seconds): send it in parts, or stream it"
    )


def _pieces(data: bytes) -> Iterator[bytes]:
    # None of nothing would be no audio at all, which the decoder has an error for.
    for at in range(0, len(data), PIECE_BYTES):
        yield data[at : at + PIECE_BYTES]
