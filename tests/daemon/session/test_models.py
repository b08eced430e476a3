"""Streams whose model is replaced: what they asked for and the new model cannot do, and what who counts is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from loud_speech import speech
from parakeetd.audio import Samples
from parakeetd.errors import Closed, DecoderError, PhraseError
from parakeetd.model.biasing import Bias, Biasing
from parakeetd.model.decoding import DecodeOptions, Decoder
from parakeetd.model.phrases import Boost
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.session.models import Models
from parakeetd.session.observer import Observer
from parakeetd.vad import Segmentation

CUT = Segmentation(end_silence_ms=100, trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=2_000, overlap_ms=0)
WANTED = DecodeOptions("ctc", (Boost("kubectl", 4.0),), "en-US")

MakeModel = Callable[..., ServedModel]


class Spells:
    """Boosts what it can spell, and remembers what it was asked for."""

    def __init__(self, *, all_phrases: bool) -> None:
        self.all_phrases = all_phrases
        self.asked: list[DecodeOptions] = []

    def __call__(self, options: DecodeOptions) -> Bias | None:
        self.asked.append(options)
        if options.boosts and not self.all_phrases:
            raise PhraseError("no tokens of the model spell 'kubectl'")
        return None


@pytest.fixture
def made() -> Iterator[MakeModel]:
    """Makes models over fake engines, and closes them at the end of the test."""
    routers: list[Router] = []

    def make(
        name: str,
        *,
        decoders: tuple[Decoder, ...] = ("tdt", "ctc"),
        biasing: Spells | None = None,
        engine: FakeEngine | None = None,
    ) -> ServedModel:
        routers.append(Router({"cpu": lambda: engine or FakeEngine()}))
        return ServedModel(name, ("en-US",), routers[-1], decoders, biasing=cast("Biasing | None", biasing))

    yield make
    for router in routers:
        router.close(10)


async def test_what_a_new_model_cannot_do_is_left_out_of_open_streams(made: MakeModel) -> None:
    models = Models((made("rich", biasing=Spells(all_phrases=True)),))
    with models.route("", WANTED) as route:
        await route.check()
        assert route.fitted == WANTED
        await models.become((made("poor", decoders=("tdt",), biasing=Spells(all_phrases=False)),))
        assert route.fitted == DecodeOptions("tdt", (), "en-US")
        # It is not forgotten: the next model may be able to.
        await models.become((made("rich", biasing=Spells(all_phrases=True)),))
        assert route.fitted == WANTED


async def test_an_engine_decodes_each_segment_by_what_its_model_can(made: MakeModel) -> None:
    old, new = FakeEngine(), FakeEngine()
    models = Models((made("one", engine=old),))
    with models.route("", DecodeOptions("ctc")) as route:
        await asyncio.wrap_future(route.submit(speech(1.0)))
        await models.become((made("two", engine=new, decoders=("tdt",)),))
        await asyncio.wrap_future(route.submit(speech(1.0)))
    assert ([o.decoder for o in old.options], [o.decoder for o in new.options]) == (["ctc"], ["tdt"])


async def test_phrases_are_prepared_for_a_new_model_before_it_gets_a_segment(made: MakeModel) -> None:
    biasing = Spells(all_phrases=True)
    models = Models((made("one"),))
    with models.route("", WANTED):
        await models.become((made("two", biasing=biasing),))
        assert biasing.asked == [WANTED]


async def test_a_stream_that_begins_while_a_switch_is_prepared_is_switched_too(made: MakeModel) -> None:
    models = Models((made("one"),))
    new = made("two", biasing=Spells(all_phrases=True))
    with models.route("", WANTED):
        switch = asyncio.create_task(models.become((new,)))
        await asyncio.sleep(0)
        with models.route("", WANTED) as late:
            await switch
            assert late.model is new


async def test_what_the_model_that_serves_cannot_do_is_refused_at_once(made: MakeModel) -> None:
    models = Models((made("poor", decoders=("tdt",), biasing=Spells(all_phrases=False)),))
    with models.route("", WANTED) as route, pytest.raises(DecoderError):
        await route.check()
    with models.route("", DecodeOptions("tdt", WANTED.boosts)) as route, pytest.raises(PhraseError):
        await route.check()


async def test_without_a_model_a_stream_is_told_to_come_again() -> None:
    with pytest.raises(Closed, match="loading its model; try again"):
        Models().named("any")


class Told(Observer):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def stream_ended(self, model: str, ending: str, seconds: float) -> None:
        self.calls.append(("ended", model, ending))

    def segment_lost(self, model: str, kind: str, why: str) -> None:
        self.calls.append(("lost", model, kind, why))


async def said(*chunks: Samples) -> AsyncIterator[Samples]:
    for chunk in chunks:
        yield chunk


async def test_a_segment_that_no_device_can_compute_is_told_as_failed(made: MakeModel) -> None:
    told = Told()
    settings = SessionSettings(detector="off", segmentation=CUT)
    sessions = Sessions((made("sick", engine=FakeEngine(failures=9)),), settings, told)
    with pytest.raises(Exception, match="was told to fail"):
        async with aclosing(sessions.stream(said(speech(1.0)))) as results:
            await anext(results)
    assert ("lost", "sick", "final", "failed") in told.calls
    assert ("ended", "sick", "failed") in told.calls
