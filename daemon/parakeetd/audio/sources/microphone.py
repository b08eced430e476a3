"""A microphone: recorded while somebody listens, whatever becomes of devices and of the sound server."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.pcm import RAW_FORMATS, Encoding, decode, mono
from parakeetd.audio.sources.capture import LOOK_SECONDS, Action, Capture, Look, Record, Standing
from parakeetd.audio.sources.pulse import Recording, SoundServer

_log = logging.getLogger(__name__)

HELD_SECONDS: Final = 5.0
"""Most audio that is kept until it is known where it comes from. A look takes hundredths of a second."""

QUEUE_SECONDS: Final = 60.0
"""Most audio that waits for somebody who listens; beyond it the newest is lost, and the log says so."""

TAIL_SECONDS: Final = 0.1
"""Recorded on after a stop: what was said before it is still on its way."""

SPACING_SECONDS: Final = 0.1
"""Between looks: a program that moves a volume slider causes dozens of changes a second."""

_FORMAT: Final = RAW_FORMATS[Encoding.LINEAR_PCM]


class Gap:
    """Stands where audio is missing: what follows is not the continuation of what went before."""


class Listening:
    """Audio of a microphone for one who listens, from `Microphone.listen` on. Iterate it; `stop` or `close` ends it."""

    def __init__(
        self,
        on_standing: Callable[[Standing], None],
        on_audio: Callable[[Samples], None],
        past: Iterable[Samples],
    ) -> None:
        self.on_standing = on_standing
        self.on_audio = on_audio
        self.ended = False
        self._queue: deque[Samples | Gap] = deque(past)
        self._waiting = sum(len(samples) for samples in self._queue if not isinstance(samples, Gap))
        self._news = asyncio.Event()
        self._lost = False
        self.on_end: Callable[[Listening], None] = lambda _: None

    def __aiter__(self) -> AsyncIterator[Samples | Gap]:
        return self

    async def __anext__(self) -> Samples | Gap:
        """The next samples [n], in order; a `Gap` where some are missing."""
        while not self._queue:
            if self.ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        item = self._queue.popleft()
        if not isinstance(item, Gap):
            self._waiting -= len(item)
        return item

    def stop(self) -> None:
        """End it after what has been said up to now."""
        if not self.ended:
            asyncio.get_running_loop().call_later(TAIL_SECONDS, self.close)

    def close(self) -> None:
        """End it. What has come can still be read."""
        if not self.ended:
            self.ended = True
            self.on_end(self)
        self._news.set()

    def give(self, samples: Samples) -> None:
        """Audio has come."""
        self.on_audio(samples)
        if self._waiting + len(samples) > QUEUE_SECONDS * SAMPLE_RATE:
            if not self._lost:
                _log.warning("recognition does not keep up with the microphone: audio is lost")
            self._lost = True
            return
        if self._lost:
            self.gap()
        self._lost = False
        self._queue.append(samples)
        self._waiting += len(samples)
        self._news.set()

    def gap(self) -> None:
        """Audio is missing."""
        if self._queue and isinstance(self._queue[-1], Gap):
            return
        self._queue.append(Gap())
        self._news.set()


class Microphone:
    """One device, or the default: open while somebody listens, or always with a ring. Belongs to one event loop."""

    def __init__(self, server: SoundServer, device: str = "", *, ring_seconds: float = 0.0) -> None:
        """
        Args:
            device: as in `capture.chosen`.
            ring_seconds: audio from before `listen` that is kept. Above 0 the microphone is open from `keep_open` on.
        """
        self._server = server
        self._capture = Capture(device)
        self._ring_seconds = ring_seconds
        self._ring: deque[Samples] = deque()
        self._keep = False
        self._asleep = False
        self._told = Standing()
        self._listening: set[Listening] = set()
        self._held: deque[Samples] = deque()
        self._mark = ""
        self._timer: asyncio.TimerHandle | None = None
        self._recorder: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def device(self) -> str:
        return self._capture.device

    @property
    def standing(self) -> Standing:
        return self._told

    def listen(
        self,
        on_standing: Callable[[Standing], None] = lambda _: None,
        on_audio: Callable[[Samples], None] = lambda _: None,
    ) -> Listening:
        """Listen from now on, or from a little before with a ring.

        Args:
            on_standing: told of every change of the microphone's standing, beginning with the present one.
            on_audio: told of samples when they come, also while nobody reads them.
        """
        listening = Listening(on_standing, on_audio, self._ring)
        listening.on_end = self._left
        # It is filled again when nobody listens: nothing is recognised twice.
        self._ring.clear()
        self._listening.add(listening)
        before = self._told
        self._adjust()
        if self._told == before:
            on_standing(self._told)
        return listening

    def keep_open(self) -> None:
        """Fill the ring, if there is one, also while nobody listens."""
        self._keep = self._ring_seconds > 0
        self._adjust()

    def sleep(self) -> None:
        """Close it, whoever listens: the machine is about to sleep."""
        self._asleep = True
        self._adjust()

    def wake(self) -> None:
        """Open it again for those who listen."""
        self._asleep = False
        self._adjust()

    async def close(self) -> None:
        """End it for good, and wait until its children have."""
        self._keep = False
        for listening in list(self._listening):
            listening.close()
        self._adjust()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _left(self, listening: Listening) -> None:
        self._listening.discard(listening)
        self._adjust()

    def _adjust(self) -> None:
        """Open or closed, as is wanted now."""
        wanted = bool(self._listening or self._keep) and not self._asleep
        if wanted and self._capture.standing.phase == "off":
            self._watching = self._task(self._watch())
            self._step(self._capture.open(_now()))
        elif not wanted and self._capture.standing.phase != "off":
            self._step(self._capture.close())
            for task in (self._watching, self._looking):
                if task is not None:
                    task.cancel()
            self._watching = self._looking = None
            self._ring.clear()

    def _step(self, actions: list[Action]) -> None:
        """Do what the capture says, tell what is new, and come back when it wants to be asked."""
        for action in actions:
            if isinstance(action, Look):
                self._look()
            else:
                if self._recorder is not None:
                    self._recorder.cancel()
                self._recorder = None
                self._held.clear()
                if isinstance(action, Record):
                    self._mark = uuid.uuid4().hex
                    self._recorder = self._task(self._record(action.source, self._mark))
        self._tell()
        if self._capture.passing:
            while self._held:
                self._give(self._held.popleft())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if (deadline := self._capture.deadline) is not None:
            wait = max(0.0, deadline - _now())
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._step(self._capture.tick(_now()))

    def _tell(self) -> None:
        standing = self._capture.standing
        if self._asleep and standing.phase == "off":
            standing = Standing("interrupted", self._told.source, "the machine sleeps")
        if standing == self._told:
            return
        was, self._told = self._told, standing
        if standing.phase != was.phase and standing.phase == "interrupted":
            _log.warning("microphone: %s", standing.problem)
        if was.phase == "interrupted" and standing.phase == "live" and standing.source:
            _log.info("microphone: back, %s", standing.source.title)
        gap = was.phase == "live" and standing.phase != "live"
        if gap:
            self._ring.clear()
        for listening in list(self._listening):
            if gap:
                listening.gap()
            listening.on_standing(standing)

    def _give(self, samples: Samples) -> None:
        for listening in list(self._listening):
            listening.give(samples)
        if self._keep and not self._listening:
            self._ring.append(samples)
            _shorten(self._ring, self._ring_seconds)

    async def _record(self, source: str, mark: str) -> None:
        """Read a recorder to its end."""
        try:
            recording = await self._server.record(source, mark)
        except OSError as error:
            reason = f"{error.filename or 'the recorder'} cannot be started: {error.strerror or error}"
            self._step(self._capture.ended(reason, _now()))
            return
        try:
            await self._read(recording)
            reason = await recording.reason()
        finally:
            await recording.close()
        self._recorder = None
        self._step(self._capture.ended(reason, _now()))

    async def _read(self, recording: Recording) -> None:
        rest = b""
        while data := await recording.read():
            data = rest + data
            whole = len(data) - len(data) % _FORMAT.bytes
            rest = data[whole:]
            if whole:
                self._held.append(mono(decode(data[:whole], _FORMAT, 1)))
                _shorten(self._held, HELD_SECONDS)
                self._step(self._capture.heard(_now()))

    def _look(self) -> None:
        if self._looking is not None and not self._looking.done():
            self._look_again = True
            return
        self._looking = self._task(self._looks())

    async def _looks(self) -> None:
        """Ask the server; again when something has changed meanwhile."""
        while True:
            self._look_again = False
            mark = self._mark
            listing = await self._server.look(mark)
            if not isinstance(listing, str) and mark != self._mark:
                # Of a recorder that has been replaced.
                listing = replace(listing, recorded="")
            actions = self._capture.listed(listing, _now())
            self._step(actions)
            if not self._look_again:
                return
            await asyncio.sleep(SPACING_SECONDS)

    async def _watch(self) -> None:
        """Pass on what the server says of changes, as long as there is one."""
        while True:
            async for _ in self._server.changes():
                self._step(self._capture.changed())
            # The server has gone, or was not there. That its recorder ended is told by the recorder.
            await asyncio.sleep(LOOK_SECONDS)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the microphone failed", exc_info=error)


def _shorten(samples: deque[Samples], seconds: float) -> None:
    """Drop the oldest until no more than so many seconds are left."""
    while sum(map(len, samples)) > seconds * SAMPLE_RATE:
        samples.popleft()


def _now() -> float:
    return asyncio.get_running_loop().time()
