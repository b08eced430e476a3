"""All streams of the daemon: how many there may be, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from parakeetd.audio import Samples
from parakeetd.errors import Closed, ConfigError, Overloaded
from parakeetd.model.biasing import Biasing
from parakeetd.model.decoding import DecodeOptions, Decoder, check_decoder
from parakeetd.routing import Router
from parakeetd.session.cutter import Cutter
from parakeetd.session.result import Result
from parakeetd.session.stream import LiveStream
from parakeetd.vad import (
    CONFIRM_THRESHOLD,
    ConfirmerName,
    DetectorName,
    Segmentation,
    open_confirmer,
    open_detector,
)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as clients see it."""

    name: str
    languages: tuple[str, ...]
    """BCP-47 tags."""
    router: Router
    decoders: tuple[Decoder, ...] = ("tdt",)
    """Those a client may ask for."""
    writes_punctuation: bool = False
    """Whether its text has punctuation and capitals."""
    biasing: Biasing | None = None
    """Boosts phrases and locks scripts; None when it can do neither."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    max_streams: int = 32
    """Streams at once; the next one is refused."""
    idle_seconds: float = 60.0
    """A stream that sends nothing for this long is ended."""
    detector: DetectorName = "webrtc"
    aggressiveness: int = 2
    confirm: ConfirmerName = "silero"
    """Only for a detector: without one everything is recognised."""
    confirm_threshold: float = CONFIRM_THRESHOLD
    segmentation: Segmentation = field(default_factory=Segmentation)

    def __post_init__(self) -> None:
        if self.max_streams < 1:
            raise ConfigError(f"server.max_streams must be at least 1, not {self.max_streams}")
        if self.idle_seconds <= 0:
            raise ConfigError(f"server.idle_seconds must be above 0, not {self.idle_seconds}")

    def cutter(self, segmentation: Segmentation | None = None) -> Cutter:
        """A cutter for a new stream, with its own segmentation when it has one."""
        detector = open_detector(self.detector, aggressiveness=self.aggressiveness)
        confirm = "off" if self.detector == "off" else self.confirm
        confirmer = open_confirmer(confirm, threshold=self.confirm_threshold)
        return Cutter(detector, segmentation or self.segmentation, confirmer)


class Sessions:
    """Opens streams within the limits. Belongs to one event loop."""

    def __init__(self, models: tuple[ServedModel, ...], settings: SessionSettings) -> None:
        """
        Args:
            models: what is served, the default first.
        """
        self.models = models
        self.settings = settings
        self.draining = False
        self._active = 0
        self._stop_input = asyncio.Event()
        self._all_ended = asyncio.Event()
        self._all_ended.set()

    @property
    def active(self) -> int:
        """Streams open now."""
        return self._active

    async def stream(
        self,
        chunks: AsyncIterator[Samples],
        *,
        model: ServedModel | None = None,
        interim: bool = False,
        segmentation: Segmentation | None = None,
        decode: DecodeOptions | None = None,
    ) -> AsyncGenerator[Result, None]:
        """Recognise a stream. Use it under `contextlib.aclosing`, so that a caller that stops early frees it.

        Args:
            chunks: mono samples at 16 kHz, pieces of any length. Their end answers what is still open.
            interim: also answer unfinished segments.
            segmentation: how to cut, when not as configured.
            decode: how to decode, when not by default.

        Raises:
            DecoderError: the model does not have this decoder; PhraseError: it cannot spell a phrase to be boosted;
            Overloaded: a limit is reached; Closed: the daemon drains; IdleTimeout: the source went silent;
            AudioError from `chunks`, after what came before it has been answered; DeviceError: no device could.
        """
        model = model or self.models[0]
        if decode is not None:
            check_decoder(decode.decoder, model.decoders, model.name)
            if model.biasing is not None:
                # A long list takes a moment. What is refused is refused now, not with the first segment.
                await asyncio.to_thread(model.biasing, decode)
        with self._counted():
            live = LiveStream(
                chunks,
                self.settings.cutter(segmentation),
                model.router,
                interim=interim,
                decode=decode,
                idle_seconds=self.settings.idle_seconds,
                stop_input=self._stop_input,
            )
            async with aclosing(live.results()) as results:
                async for result in results:
                    yield result

    async def drain(self, grace_seconds: float, flush_seconds: float) -> bool:
        """Take no new streams, give those open `grace_seconds` to end by themselves, then end their audio and answer
        what was accepted.

        Returns:
            False when some had not ended after `flush_seconds` more.
        """
        self.draining = True
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
    def _counted(self) -> Iterator[None]:
        if self.draining:
            raise Closed("the daemon is shutting down and takes no new streams")
        if self._active >= self.settings.max_streams:
            raise Overloaded(
                f"{self._active} streams are open, the limit is server.max_streams; try again later"
            )
        self._active += 1
        self._all_ended.clear()
        try:
            yield
        finally:
            self._active -= 1
            if self._active == 0:
                self._all_ended.set()
