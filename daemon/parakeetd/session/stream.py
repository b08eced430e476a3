"""One live stream: audio chunks in, ordered results out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import Closed, IdleTimeout
from parakeetd.routing import Dropped, Routed
from parakeetd.session.agreement import Agreement
from parakeetd.session.cutter import Cutter, Segment
from parakeetd.session.pace import Pace
from parakeetd.session.result import Result, final_result
from parakeetd.session.words import Seams, transcript_of

MAX_UNDER_WAY = 4
"""Segments of one stream in the router at once. Beyond it the stream's audio is not read: the client waits."""

SHORT = SAMPLE_RATE // 4
"""Chunks up to this are cut without giving other streams their turn: a fraction of a millisecond."""

TURN_SECONDS = 0.001
"""How long longer ones are cut before other streams have their turn. For each that an utterance gives away it waits
for all the others; without detection it is cut in less."""

Kind = Literal["interim", "first pass", "final"]


@dataclass(slots=True)
class Waiting:
    """Audio that was accepted and has no answer yet, over all streams that share this."""

    samples: int = 0


class Submits(Protocol):
    """Where segments go: a `Router`, or the way to one that may be replaced."""

    def submit(
        self, samples: Samples, *, final: bool = True, stream: object | None = None
    ) -> Future[Routed]: ...


@dataclass(eq=False, slots=True)
class _Asked:
    """A segment in the router."""

    segment: Segment
    answer: Future[Routed]
    """Knows whether its computing has begun."""
    routed: asyncio.Future[Routed]


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A result to come, in the order of results."""

    kind: Kind
    asked: _Asked
    audio_seconds: float
    agreement: Agreement
    since: float = field(default_factory=time.monotonic)


class LiveStream:
    """Runs one stream. What was accepted before an error in the audio, an idle client or a shutdown is answered first;
    then the error is raised. A cancelled stream answers nothing more and drops what it had queued.

    When a pause has lasted so long that the samples of the coming final are known, it is recognised ahead, on time that
    nobody else wants. If speech resumes that is thrown away, otherwise the final is there when the segment ends.
    """

    def __init__(
        self,
        chunks: AsyncIterator[Samples],
        cutter: Cutter,
        router: Submits,
        *,
        interim: bool,
        idle_seconds: float,
        stop_input: asyncio.Event,
        waiting: Waiting | None = None,
    ) -> None:
        self._chunks = chunks
        self._cutter = cutter
        self._router = router
        self._interim = interim
        self._idle_seconds = idle_seconds
        self._stop_input = stop_input
        self._reading: asyncio.Timeout | None = None
        """What ends the wait for the next chunk; None while none is waited for."""
        self._waiting = waiting or Waiting()
        self._unanswered: set[asyncio.Future[Routed]] = set()
        # Of those under way, one is awaited by `results` and one may wait in the reader for its place here.
        self._queue: asyncio.Queue[_UnderWay | None] = asyncio.Queue(MAX_UNDER_WAY - 2)
        self._seams = Seams()
        self._pace = Pace()
        self._agreement = Agreement(0.0)
        """Of the segment that is open, or that ended last."""
        self._last_interim: _Asked | None = None
        self._ahead: _Asked | None = None
        """The final of the open segment if no speech follows."""
        self._ahead_place: tuple[float, float] | None = None
        """Its start and end."""
        self._told = False
        """Whether the first pass of this pause has been answered."""
        self._heard = ""
        """Text of the open segment before the pause."""

    async def results(self) -> AsyncGenerator[Result, None]:
        """Finals at each endpoint, and interims between them when asked for; nothing for segments without text."""
        reader = asyncio.create_task(self._read())
        try:
            while (item := await self._queue.get()) is not None:
                if (result := await self._result(item)) is not None and result.text:
                    yield result
            await reader
        finally:
            reader.cancel()
            # What the reader raised was raised above, or the caller has left and does not want it.
            with suppress(asyncio.CancelledError, Exception):
                await reader
            for unanswered in list(self._unanswered):
                unanswered.cancel()

    async def _result(self, item: _UnderWay) -> Result | None:
        """What to answer, once it is known; None for an interim that was not computed, or brings nothing new."""
        asked = item.asked
        await asyncio.wait({asked.routed})
        dropped = asked.routed.cancelled() or isinstance(asked.routed.exception(), Dropped)
        if dropped and item.kind != "final":
            return None
        if dropped:
            # It had been begun ahead, on a device that then failed.
            asked = self._ask(asked.segment, final=True)
            await asyncio.wait({asked.routed})
        routed, segment = asked.routed.result(), asked.segment
        if item.kind == "final":
            result = final_result(segment, routed, item.audio_seconds, self._seams)
            return replace(result, latency_seconds=time.monotonic() - item.since)
        words = self._seams.left(routed.transcript.shifted(segment.start).words, segment.seam_before)
        hypothesis = item.agreement.add(words, segment.end)
        self._pace.heard(bool(hypothesis.words), routed.compute_seconds)
        if asked is not self._ahead:
            self._heard = hypothesis.text
        if not self._interim:
            return None
        whole = item.kind == "first pass"
        return Result(
            item.agreement.start,
            segment.end,
            transcript_of(words if whole else hypothesis.words),
            routed.device,
            is_final=False,
            stability=1.0 if whole else hypothesis.stability,
            audio_seconds=item.audio_seconds,
        )

    async def _read(self) -> None:
        """Cut the audio into segments and queue them; raise at the end what ended the audio early."""
        early_end: Exception | None = None
        stop = asyncio.create_task(self._stop_input.wait())
        stop.add_done_callback(self._stop_reading)
        turn = time.monotonic()
        try:
            while (chunk := await self._next_chunk()) is not None:
                # Long chunks are cut piece by piece, so that other streams get their turn.
                for at in range(0, len(chunk), SAMPLE_RATE):
                    for segment in self._cutter.feed(chunk[at : at + SAMPLE_RATE]):
                        await self._submit_final(segment)
                    if len(chunk) > SHORT and time.monotonic() - turn >= TURN_SECONDS:
                        await asyncio.sleep(0)
                        turn = time.monotonic()
                await self._look_ahead()
                await self._maybe_interim()
        except Exception as error:
            early_end = error
        finally:
            stop.cancel()
        try:
            for segment in self._cutter.finish():
                await self._submit_final(segment)
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
        # No task of its own: that would cost as much as hearing a message of 100 ms.
        self._reading = asyncio.timeout(self._idle_seconds)
        try:
            async with self._reading:
                return await anext(self._chunks)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            if not self._reading.expired():
                raise
            if self._stop_input.is_set():
                raise Closed("the daemon is shutting down") from None
            raise IdleTimeout(f"no audio came for {self._idle_seconds:g} s (limits.idle_seconds)") from None
        finally:
            self._reading = None

    def _stop_reading(self, stop: asyncio.Task[Literal[True]]) -> None:
        if self._reading is not None and not stop.cancelled():
            self._reading.reschedule(asyncio.get_running_loop().time())

    def _ask(self, segment: Segment, *, final: bool, stream: object | None = None) -> _Asked:
        answer = self._router.submit(segment.samples, final=final, stream=stream)
        routed = asyncio.wrap_future(answer)
        self._unanswered.add(routed)
        samples = len(segment.samples) if final else 0
        self._waiting.samples += samples
        routed.add_done_callback(partial(self._answered, samples))
        return _Asked(segment, answer, routed)

    def _answered(self, samples: int, routed: asyncio.Future[Routed]) -> None:
        self._waiting.samples -= samples
        self._unanswered.discard(routed)
        if not routed.cancelled():
            # Looked at here, since the caller may have left: asyncio reports exceptions that nobody has seen.
            routed.exception()

    async def _put(self, kind: Kind, asked: _Asked) -> None:
        await self._queue.put(_UnderWay(kind, asked, self._cutter.seconds, self._agreement))

    async def _submit_final(self, segment: Segment) -> None:
        ahead, self._ahead = self._ahead, None
        self._drop_interim()
        # A piece that waits yet would go on waiting behind the finals of others: it is asked for anew, as a final.
        if (
            ahead is None
            or not _same_samples(ahead.segment, segment)
            or ahead.answer.cancel()
            or not _usable(ahead)
        ):
            asked = self._ask(segment, final=True)
        else:
            asked = ahead
        self._pace.ended()
        self._told, self._heard = False, ""
        await self._put("final", asked)

    def _drop_interim(self) -> None:
        """A newer hypothesis is on its way: if the interim has not been computed yet, nobody needs it."""
        if self._last_interim is not None:
            self._last_interim.answer.cancel()
        self._last_interim = None

    async def _look_ahead(self) -> None:
        """Recognise the coming final when its samples are known; answer a first pass; end a segment early."""
        pending = self._cutter.pending
        if self._ahead is not None and pending != self._ahead_place:
            # Speech has resumed.
            self._ahead.answer.cancel()
            self._ahead, self._told = None, False
        if pending is None:
            return
        if self._ahead is None and (segment := self._cutter.pending_segment()) is not None:
            self._enter(segment.start)
            self._drop_interim()
            self._ahead, self._ahead_place = self._ask(segment, final=False), pending
            if self._interim:
                await self._put("interim", self._ahead)
            self._pace.made(self._cutter.seconds)
        if self._ahead is None:
            return
        if self._interim and not self._told and self._cutter.first_pass:
            self._told = True
            await self._put("first pass", self._ahead)
        settled = self._cutter.may_end_early and self._settled(self._ahead)
        if settled and (early := self._cutter.end()) is not None:
            await self._submit_final(early)

    def _settled(self, ahead: _Asked) -> bool:
        """Whether the text of the whole segment is known and the same as before the pause."""
        if not ahead.routed.done() or not _usable(ahead):
            return False
        words = self._seams.left(
            ahead.routed.result().transcript.shifted(ahead.segment.start).words, ahead.segment.seam_before
        )
        return bool(words) and transcript_of(words).text == self._heard

    async def _maybe_interim(self) -> None:
        start = self._cutter.open_start
        if start is None or self._ahead is not None or not (self._interim or self._cutter.ends_early):
            return
        if not self._pace.due(self._cutter.seconds):
            return
        # None while a final is under way: an interim only uses time that nobody else wants. An interim that has not
        # begun gives its place to the newer one.
        under_way = set(self._unanswered)
        if self._last_interim is not None and not self._last_interim.answer.running():
            under_way.discard(self._last_interim.routed)
        if under_way:
            return
        self._enter(start)
        if (segment := self._cutter.open_segment(self._agreement.window_start)) is not None:
            self._last_interim = self._ask(segment, final=False, stream=self)
            self._pace.made(self._cutter.seconds)
            await self._put("interim", self._last_interim)

    def _enter(self, start: float) -> None:
        """The open segment begins here: what was agreed on before belongs to another."""
        if self._agreement.start != start:
            self._agreement = Agreement(start)


def _same_samples(one: Segment, other: Segment) -> bool:
    return one.start == other.start and len(one.samples) == len(other.samples)


def _usable(asked: _Asked) -> bool:
    """Whether it is being computed, or was."""
    return not asked.routed.done() or not (asked.routed.cancelled() or asked.routed.exception())
