"""All streams of the daemon: how many there may be, and how they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import Closed, ConfigError, IdleTimeout, InputError, Overloaded, TimeLimit
from parakeetd.model.decoding import DecodeOptions
from parakeetd.session.cutter import Cutter
from parakeetd.session.models import Models, Route, ServedModel
from parakeetd.session.observer import NOBODY, Ending, Observer
from parakeetd.session.places import HERE, Client, Places
from parakeetd.session.quiet import Quiet
from parakeetd.session.result import Result
from parakeetd.session.stream import LiveStream, Waiting
from parakeetd.vad import (
    CONFIRM_THRESHOLD,
    ConfirmerName,
    DetectorName,
    Segmentation,
    open_confirmer,
    open_detector,
)

_HAS_PLACE: ContextVar[bool] = ContextVar("has_place", default=False)
"""Whether the stream that begins in this task has been counted."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    max_streams: int = 32
    """Streams at once, recordings included; the next one is refused."""
    max_streams_per_client: int | None = None
    """Of these, for one client; None: half of them for a client on another machine, all for those on this one."""
    idle_seconds: float = 60.0
    """A stream that sends nothing for this long is ended."""
    max_stream_seconds: float = 0.0
    """A stream that takes longer is ended; 0: none is."""
    max_recording_seconds: float = 3600.0
    """Audio of a recording in one message, and of a compressed file in a stream."""
    max_queued_seconds: float = 3600.0
    """Audio of all streams that waits to be recognised; above it new streams are refused."""
    detector: DetectorName = "webrtc"
    aggressiveness: int = 2
    confirm: ConfirmerName = "silero"
    """Only for a detector: without one everything is recognised."""
    confirm_threshold: float = CONFIRM_THRESHOLD
    segmentation: Segmentation = field(default_factory=Segmentation)

    def __post_init__(self) -> None:
        each = self.max_streams_per_client
        for name, count in (("max_streams", self.max_streams), ("max_streams_per_client", each)):
            if count is not None and count < 1:
                raise ConfigError(f"limits.{name} must be at least 1, not {count}")
        for name in ("idle_seconds", "max_recording_seconds", "max_queued_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"limits.{name} must be above 0, not {getattr(self, name)}")
        if self.max_stream_seconds < 0:
            raise ConfigError(f"limits.max_stream_seconds must be 0 or more, not {self.max_stream_seconds}")

    def streams_of(self, client: Client) -> int:
        """How many streams this client may have at once."""
        if self.max_streams_per_client is not None:
            return self.max_streams_per_client
        return self.max_streams if client.local else (self.max_streams + 1) // 2

    def cutter(self, segmentation: Segmentation | None = None, *, shown: bool = True) -> Cutter:
        """A cutter for a new stream, with its own segmentation when it has one.

        Args:
            shown: whether somebody looks at its segments while they are spoken.
        """
        detector = open_detector(self.detector, aggressiveness=self.aggressiveness)
        confirm = "off" if self.detector == "off" else self.confirm
        confirmer = open_confirmer(confirm, threshold=self.confirm_threshold)
        return Cutter(detector, segmentation or self.segmentation, confirmer, shown=shown)


class Sessions:
    """Opens streams within the limits. Belongs to one event loop."""

    def __init__(
        self,
        models: tuple[ServedModel, ...],
        settings: SessionSettings,
        observer: Observer = NOBODY,
        when_quiet: Callable[[], object] | None = None,
    ) -> None:
        """
        Args:
            models: what is served, the default first; none while the daemon loads.
            observer: who counts what happens.
            when_quiet: called, in a thread, some seconds after the last stream has ended.
        """
        self._observer = observer
        self.models = Models(models, observer)
        self.settings = settings
        """Those of streams that begin from now on."""
        self.draining = False
        self.draining_begun = asyncio.Event()
        self._places = Places("streams")
        self._waiting = Waiting()
        self._stop_input = asyncio.Event()
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self._quiet = None if when_quiet is None else Quiet(when_quiet)

    @property
    def active(self) -> int:
        """Streams open now."""
        return self._places.count

    @property
    def queued_seconds(self) -> float:
        """Audio of all streams that waits to be recognised, or is being."""
        return self._waiting.samples / SAMPLE_RATE

    async def stream(
        self,
        chunks: AsyncIterator[Samples],
        *,
        model: str = "",
        interim: bool = False,
        segmentation: Segmentation | None = None,
        decode: DecodeOptions | None = None,
    ) -> AsyncGenerator[Result, None]:
        """Recognise a stream. Use it under `contextlib.aclosing`, so that a caller that stops early frees it.

        Args:
            model: name of the model; the default where it is not served, and from when on it is served no more.
            chunks: mono samples at 16 kHz, pieces of any length. Their end answers what is still open.
            interim: also answer unfinished segments.
            segmentation: how to cut, when not as configured.
            decode: how to decode, when not by default.

        Raises:
            DecoderError: the model does not have this decoder; PhraseError: it cannot spell a phrase to be boosted;
            Overloaded: a limit is reached; Closed: the daemon loads or drains; IdleTimeout: the source went silent;
            AudioError from `chunks`, after what came before it has been answered; DeviceError: no device could.
        """
        place = nullcontext() if _HAS_PLACE.get() else self._counted(HERE)
        with place, self._told_of() as told, self.models.route(model, decode) as route:
            told.route = route
            await route.check()
            live = LiveStream(
                chunks,
                self.settings.cutter(segmentation, shown=interim),
                route,
                interim=interim,
                idle_seconds=self.settings.idle_seconds,
                stop_input=self._stop_input,
                waiting=self._waiting,
            )
            async with aclosing(live.results()) as results:
                async for result in results:
                    if result.is_final:
                        self._observer.final_told(route.model.name, result.latency_seconds)
                    yield result

    @contextmanager
    def place(self, client: Client) -> Iterator[None]:
        """Count a stream from now on: its client has yet to say what it wants. A `stream` within the block, in the same
        task, is this one.

        Raises:
            Overloaded: a limit is reached; Closed: the daemon drains.
        """
        with self._counted(client):
            before = _HAS_PLACE.set(True)
            try:
                yield
            finally:
                _HAS_PLACE.reset(before)

    async def drain(self, grace_seconds: float, flush_seconds: float) -> bool:
        """Take no new streams, give those open `grace_seconds` to end by themselves, then end their audio and answer
        what was accepted.

        Returns:
            False when some had not ended after `flush_seconds` more.
        """
        self.draining = True
        self.draining_begun.set()
        if self._quiet is not None:
            self._quiet.end()
        if not await self._ended_within(grace_seconds):
            self._stop_input.set()
        return await self._ended_within(flush_seconds)

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._all_ended.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _counted(self, client: Client) -> Iterator[None]:
        try:
            self._take_place(client)
        except Overloaded:
            self._observer.stream_ended("", "refused", 0.0)
            raise
        try:
            yield
        finally:
            self._places.give_back(client)
            if not self.active:
                self._all_ended.set()
                if self._quiet is not None and not self.draining:
                    self._quiet.begin()

    def _take_place(self, client: Client) -> None:
        if self.draining:
            raise Closed("the daemon is shutting down and takes no new streams")
        settings = self.settings
        if self.queued_seconds >= settings.max_queued_seconds:
            raise Overloaded(
                f"{self.queued_seconds:.0f} s of audio wait to be recognised, the limit is "
                f"{settings.max_queued_seconds:g} s (limits.max_queued_seconds); try again later"
            )
        total = (settings.max_streams, "limits.max_streams")
        each = (settings.streams_of(client), "limits.max_streams_per_client")
        self._places.take(client, total, each)
        self._all_ended.clear()
        if self._quiet is not None:
            self._quiet.end()

    @contextmanager
    def _told_of(self) -> Iterator[_Told]:
        """Tell the observer how a stream ended."""
        told, begun, ending = _Told(), time.monotonic(), _ending_of(None)
        try:
            yield told
        except BaseException as error:
            ending = _ending_of(error)
            raise
        finally:
            # The name is that of a model, not what a client may have called it.
            model = "" if told.route is None else told.route.model.name
            self._observer.stream_ended(model, ending, time.monotonic() - begun)


@dataclass(slots=True)
class _Told:
    """What is told of a stream in the end."""

    route: Route | None = None
    """Once it has one."""


def _ending_of(error: BaseException | None) -> Ending:
    match error:
        case None:
            return "completed"
        case Overloaded():
            return "refused"
        case IdleTimeout() | TimeLimit():
            return "idle"
        case InputError():
            return "bad_input"
        case Closed():
            return "shutdown"
        case asyncio.CancelledError() | GeneratorExit():
            return "cancelled"
        case _:
            return "failed"
