"""The models that serve, by name, and each stream's way to one of them. Any may be replaced while streams use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import Closed, PhraseError
from parakeetd.model.biasing import Biasing
from parakeetd.model.decoding import DecodeOptions, Decoder, check_decoder
from parakeetd.routing import Dropped, Routed, Router
from parakeetd.session.observer import NOBODY, Kind, Observer

log = logging.getLogger(__name__)


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


class Route:
    """A stream's way to its model: each segment goes to the one that serves when it is submitted."""

    def __init__(
        self, name: str, model: ServedModel, wanted: DecodeOptions | None, observer: Observer
    ) -> None:
        self.name = name
        """Of the model that was asked for; empty for the default."""
        self.wanted = wanted
        self.model = model
        self.fitted = wanted
        """What of the wanted options the model can do."""
        self._observer = observer

    async def check(self) -> None:
        """What the model cannot do is refused now, not with the first segment.

        Raises:
            DecoderError: it does not have this decoder; PhraseError: it cannot spell a phrase to be boosted.
        """
        model = self.model
        if self.wanted is not None:
            check_decoder(self.wanted.decoder, model.decoders, model.name)
            if model.biasing is not None and (self.wanted.boosts or self.wanted.language):
                # A long list takes a moment.
                await asyncio.to_thread(model.biasing, self.wanted)

    def submit(self, samples: Samples, *, final: bool = True, stream: object | None = None) -> Future[Routed]:
        """As `Router.submit`, by the stream's own options."""
        future = self.model.router.submit(samples, final=final, decode=self.fitted, stream=stream)
        name, kind, seconds = self.model.name, _kind(final), len(samples) / SAMPLE_RATE
        future.add_done_callback(lambda done: self._note(done, name, kind, seconds))
        return future

    def _note(self, done: Future[Routed], model: str, kind: Kind, seconds: float) -> None:
        if done.cancelled():
            self._observer.segment_lost(model, kind, "cancelled")
        elif (error := done.exception()) is not None:
            dropped = isinstance(error, Dropped)
            self._observer.segment_lost(model, kind, "dropped" if dropped else "failed")
        else:
            routed = done.result()
            self._observer.segment_answered(
                model,
                routed.device,
                kind,
                audio_seconds=seconds,
                queued_seconds=routed.queued_seconds,
                compute_seconds=routed.compute_seconds,
                batch=routed.batch,
            )


class Models:
    """Belongs to one event loop."""

    def __init__(self, serving: Sequence[ServedModel] = (), observer: Observer = NOBODY) -> None:
        """
        Args:
            serving: the default first; none while the daemon loads.
        """
        self._serving = tuple(serving)
        self._routes: set[Route] = set()
        self._observer = observer

    @property
    def serving(self) -> tuple[ServedModel, ...]:
        """The default first."""
        return self._serving

    def named(self, name: str = "") -> ServedModel:
        """The model of this name, or else the default.

        Raises:
            Closed: there is none yet.
        """
        if not self._serving:
            raise Closed("the daemon is loading its model; try again in a moment")
        return _named(name, self._serving)

    def streams(self, name: str) -> int:
        """Streams that are open on a model."""
        return sum(route.model.name == name for route in list(self._routes))

    @contextmanager
    def route(self, name: str = "", decode: DecodeOptions | None = None) -> Iterator[Route]:
        """A way to a model for one stream.

        Raises:
            Closed: there is no model yet.
        """
        model = self.named(name)
        route = Route(name if name == model.name else "", model, decode, self._observer)
        self._routes.add(route)
        # What has left for want of work comes back while the client begins to speak.
        model.router.wake()
        try:
            yield route
        finally:
            self._routes.discard(route)

    async def become(self, serving: Sequence[ServedModel]) -> None:
        """Serve these from now on, the default first. Open streams go on: their next segments go to the model of the
        name that they asked for, or else to the default.

        What a stream wants and its new model cannot do is left out.
        """
        fitted: dict[Route, DecodeOptions | None] = {}
        while missing := [route for route in self._routes if route not in fitted]:
            for route in missing:
                model = _named(route.name, serving)
                same = model is route.model
                fitted[route] = (
                    route.fitted if same else await asyncio.to_thread(_fitted, route.wanted, model)
                )
        # From here to the end nothing else runs in the loop: no segment sees half of the change.
        self._serving = tuple(serving)
        for route in self._routes:
            route.model, route.fitted = _named(route.name, serving), fitted[route]


def _named(name: str, serving: Sequence[ServedModel]) -> ServedModel:
    return next((model for model in serving if model.name == name), serving[0])


def _fitted(wanted: DecodeOptions | None, model: ServedModel) -> DecodeOptions | None:
    """What of these options a model can do, prepared for it."""
    if wanted is None:
        return None
    if wanted.decoder not in model.decoders:
        log.info("a stream goes on without decoder %s: %s has none", wanted.decoder, model.name)
        wanted = replace(wanted, decoder=model.decoders[0])
    if model.biasing is not None:
        try:
            model.biasing(wanted)
        except PhraseError as error:
            # The error would tell what is to be heard, which is nobody's business.
            log.info("a stream goes on without its phrases: %s cannot boost one of them", model.name)
            log.debug("the phrase that cannot be boosted: %s", error)
            wanted = replace(wanted, boosts=())
    return wanted


def _kind(final: bool) -> Kind:
    return "final" if final else "interim"
