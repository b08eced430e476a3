"""One live stream: audio chunks in, ordered results out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import Closed, IdleTimeout
from parakeetd.model.decoding import DecodeOptions
from parakeetd.routing import Dropped, Routed, Router
from parakeetd.session.cutter import Cutter, Segment
from parakeetd.session.result import Result, result_of

MAX_UNDER_WAY = 4
"""Segments of one stream in the router at once. Beyond it the stream's audio is not read: the client waits."""

INTERIM_SECONDS = 0.5
"""New audio in the open segment before its next interim."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    segment: Segment
    routed: asyncio.Future[Routed]
    audio_seconds: float


class LiveStream:
    """Runs one stream. What was accepted before an error in the audio, an idle client or a shutdown is answered first;
    then the error is raised. A cancelled stream answers nothing more and drops what it had queued."""

    def __init__(
        self,
        chunks: AsyncIterator[Samples],
        cutter: Cutter,
        router: Router,
        *,
        interim: bool,
        decode: DecodeOptions | None = None,
        idle_seconds: float,
        stop_input: asyncio.Event,
    ) -> None:
        self._chunks = chunks
        self._cutter = cutter
        self._router = router
        self._interim = interim
        self._decode = decode
        self._idle_seconds = idle_seconds
        self._stop_input = stop_input
        self._unanswered: set[asyncio.Future[Routed]] = set()
        # Of those under way, one is awaited by `results` and one may wait in the reader for its place here.
        self._queue: asyncio.Queue[_UnderWay | None] = asyncio.Queue(MAX_UNDER_WAY - 2)
        self._interim_at = 0.0
        """Stream position in seconds of the last interim or final."""
        self._last_interim: asyncio.Future[Routed] | None = None
        self._last_answer: Future[Routed] | None = None
        """What the router gave for it; knows whether its computing has begun."""

    async def results(self) -> AsyncGenerator[Result, None]:
        """Finals at each endpoint, and interims between them when asked for; nothing for segments without text."""
        reader = asyncio.create_task(self._read())
        try:
            while (item := await self._queue.get()) is not None:
                await asyncio.wait({item.routed})
                if item.routed.cancelled() or isinstance(item.routed.exception(), Dropped):
                    continue
                routed = item.routed.result()
                if routed.transcript.text:
                    yield result_of(item.segment, routed, item.audio_seconds)
            await reader
        finally:
            reader.cancel()
            # What the reader raised was raised above, or the caller has left and does not want it.
            with suppress(asyncio.CancelledError, Exception):
                await reader
            for unanswered in list(self._unanswered):
                unanswered.cancel()

    async def _read(self) -> None:
        """Cut the audio into segments and queue them; raise at the end what ended the audio early."""
        early_end: Exception | None = None
        try:
            while (chunk := await self._next_chunk()) is not None:
                # Long chunks are cut piece by piece, so that other streams get their turn.
                for at in range(0, len(chunk), SAMPLE_RATE):
                    for segment in self._cutter.feed(chunk[at : at + SAMPLE_RATE]):
                        await self._submit(segment)
                    await asyncio.sleep(0)
                await self._maybe_interim()
        except Exception as error:
            early_end = error
        try:
            for segment in self._cutter.finish():
                await self._submit(segment)
        except Exception as error:
            early_end = early_end or error
        await self._queue.put(None)
        if early_end is not None:
            raise early_end

    async def _next_chunk(self) -> Samples | None:
        """The next chunk, or None at the end of the audio.

        Raises:
            IdleTimeout: none came within the idle limit.
            Closed: the daemon is shutting down.
        """
        if self._stop_input.is_set():
            raise Closed("the daemon is shutting down")
        chunk = asyncio.ensure_future(anext(self._chunks))
        stop = asyncio.ensure_future(self._stop_input.wait())
        try:
            await asyncio.wait({chunk, stop}, timeout=self._idle_seconds, return_when=asyncio.FIRST_COMPLETED)
            if chunk.done():
                return chunk.result()
            if stop.done():
                raise Closed("the daemon is shutting down")
            raise IdleTimeout(f"no audio came for {self._idle_seconds:g} s, the limit for a silent client")
        except StopAsyncIteration:
            return None
        finally:
            chunk.cancel()
            stop.cancel()

    async def _submit(self, segment: Segment) -> None:
        answer = self._router.submit(segment.samples, final=segment.final, decode=self._decode, stream=self)
        routed = asyncio.wrap_future(answer)
        self._unanswered.add(routed)
        routed.add_done_callback(self._answered)
        if segment.final and self._last_interim is not None:
            # The final hypothesis is on its way: if the interim has not been computed yet, nobody needs it.
            self._last_interim.cancel()
        self._last_interim, self._last_answer = (None, None) if segment.final else (routed, answer)
        self._interim_at = self._cutter.seconds
        await self._queue.put(_UnderWay(segment, routed, self._cutter.seconds))

    def _answered(self, routed: asyncio.Future[Routed]) -> None:
        self._unanswered.discard(routed)
        if not routed.cancelled():
            # Looked at here, since the caller may have left: asyncio reports exceptions that nobody has seen.
            routed.exception()

    async def _maybe_interim(self) -> None:
        if not self._interim or self._cutter.seconds - self._interim_at < INTERIM_SECONDS:
            return
        # None while a final is under way: an interim only uses time that nobody else wants. An interim that has not
        # begun gives its place to the newer one.
        under_way = set(self._unanswered)
        if self._last_answer is not None and not self._last_answer.running():
            under_way.discard(self._last_interim)
        if not under_way and (segment := self._cutter.open_segment()) is not None:
            await self._submit(segment)
