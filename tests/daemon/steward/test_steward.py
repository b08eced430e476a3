"""Models that are loaded, unloaded and told of while streams go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from folders_of_models import CUT, WAIT_SECONDS, Machine, Speaker
from loud_speech import speech
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import Closed, InputError, ModelNotFound, Overloaded
from parakeetd.session import Sessions
from parakeetd.steward import MOST_MODELS, Steward


async def test_clients_choose_a_loaded_model_by_its_name_and_get_the_default_when_it_is_unloaded(
    machine: Machine,
) -> None:
    async with machine.running() as (steward, sessions):
        await steward.load("two")
        chosen, unnamed = Speaker(sessions, model="two"), Speaker(sessions)
        for speaker in (chosen, unnamed):
            speaker.say()
        assert (await chosen.hears(), await unnamed.hears()) == ("two", "one")
        assert sessions.models.streams("two") == 1
        await steward.unload("two")
        chosen.say()
        assert await chosen.hears() == "one"
        for speaker in (chosen, unnamed):
            await speaker.ends()


async def test_a_stream_stays_with_the_model_that_it_named_when_the_default_changes(machine: Machine) -> None:
    machine.install("three")
    async with machine.running() as (steward, sessions):
        await steward.load("two")
        speaker = Speaker(sessions, model="two")
        await steward.reload("three")
        speaker.say()
        assert await speaker.hears() == "two"
        # What was loaded becomes the default without being opened again.
        opened = len(machine.engines)
        await steward.reload("two")
        assert [model.name for model in sessions.models.serving] == ["two"]
        assert len(machine.engines) == opened
        await speaker.ends()


async def test_a_model_is_loaded_once(machine: Machine) -> None:
    async with machine.running() as (steward, sessions):
        await steward.load("two")
        again = await steward.load("two")
        assert (again.name, again.is_default) == ("two", False)
        assert len(sessions.models.serving) == 2
    assert len(machine.engines) == 2


async def test_what_cannot_be_loaded_or_unloaded_is_refused_in_words(machine: Machine) -> None:
    more = [f"m{number}" for number in range(MOST_MODELS)]
    machine.install(*more)
    async with machine.running() as (steward, _):
        with pytest.raises(ModelNotFound, match="'none' is not installed"):
            await steward.load("none")
        with pytest.raises(InputError, match="'two' is not loaded; loaded are: one"):
            await steward.unload("two")
        with pytest.raises(InputError, match="parakeetd reload --model NAME"):
            await steward.unload("one")
        for name in more[:-1]:
            await steward.load(name)
        with pytest.raises(Overloaded, match=f"the limit is {MOST_MODELS}"):
            await steward.load(more[-1])


async def test_before_the_first_model_serves_and_after_the_end_nothing_can_be_changed(
    machine: Machine,
) -> None:
    sessions = Sessions((), machine.read().sessions)
    steward = Steward(machine.read(), machine.paths, sessions, read=machine.read)
    assert (steward.standing().state, steward.summary()) == ("loading", "loading")
    with pytest.raises(Closed, match="loading"):
        await steward.reload()
    with pytest.raises(Closed, match="loading"):
        async with aclosing(sessions.stream(nothing())) as results:
            await anext(results)
    await steward.begin()
    assert (steward.standing().state, steward.summary()) == ("serving", "serving one on CPU")
    await sessions.drain(0, 0)
    assert steward.standing().state == "draining"
    with pytest.raises(Closed, match="shutting down"):
        await steward.load("two")
    assert await steward.close(WAIT_SECONDS)


async def nothing() -> AsyncIterator[Samples]:
    return
    yield speech(2.0)


async def test_a_standing_tells_of_each_model(machine: Machine) -> None:
    async with machine.running() as (steward, sessions):
        await steward.load("two")
        speaker = Speaker(sessions, model="two")
        speaker.say()
        await speaker.hears()
        standing = steward.standing()
        await speaker.ends()
    assert standing.summary == "serving one on CPU, two on CPU"
    assert [(model.name, model.is_default, model.streams) for model in standing.models] == [
        ("one", True, 0),
        ("two", False, 1),
    ]
    assert [device.engine for device in standing.models[1].devices] == ["open"]
    assert (standing.streams, standing.max_streams) == (1, 32)


async def test_installed_models_are_listed_with_what_is_wrong_with_them(machine: Machine) -> None:
    (machine.paths.models / "two" / "tokens.txt").unlink()
    async with machine.running() as (steward, _):
        models = {model.name: model for model in steward.installed()}
    assert set(models) == {"demo", "one", "two"}
    assert (models["one"].loaded, models["one"].is_default, models["one"].problem) == (True, True, "")
    assert "tokens.txt is missing" in models["two"].problem
    assert not models["demo"].loaded


async def test_who_watches_is_told_of_each_change(machine: Machine) -> None:
    async with machine.running() as (steward, _):
        told: list[str] = []
        steward.watch(lambda: told.append(steward.summary()))
        await steward.load("two")
        await steward.unload("two")
        await steward.reload("two")
    assert told == ["serving one on CPU, two on CPU", "serving one on CPU", "serving two on CPU"]


def test_what_is_said_at_once_is_a_segment() -> None:
    assert len(speech(2.0)) == 2 * SAMPLE_RATE == CUT.max_segment_ms * 16
