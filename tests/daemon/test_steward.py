"""A steward with models that are folders on disk and engines without a model: what changes while streams go on."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from loud_speech import speech
from parakeetd import steward as stewards
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.config import (
    Config,
    DeviceSettings,
    LimitSettings,
    ModelSettings,
    Paths,
    ServerSettings,
    VadSettings,
)
from parakeetd.engines import Opened
from parakeetd.errors import BundleError, Closed, ConfigError, InputError, ModelNotFound, Overloaded
from parakeetd.model.biasing import Biasing
from parakeetd.model.bundle import EMBEDDED, MANIFEST, Bundle
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word
from parakeetd.routing import Router
from parakeetd.session import Result, Sessions
from parakeetd.steward import MOST_MODELS, Steward
from parakeetd.vad import Segmentation

WAIT_SECONDS = 30.0
CUT = Segmentation(end_silence_ms=100, trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=2_000, overlap_ms=0)


class NamedEngine:
    """Answers everything with the name of its model; waits at the gate before each answer."""

    def __init__(self, name: str, gate: threading.Event) -> None:
        self.name = name
        self.gate = gate
        self.begun = threading.Event()

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        self.begun.set()
        self.gate.wait()
        return [Transcript(self.name, (Word(self.name, 0.0, 0.5, 1.0),), confidence=1.0) for _ in audio]


class Machine:
    """Folders of models, the engines that were opened on them, and a configuration that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder / "config.toml", folder / "models", folder / "calibration", None)
        self.config: Config | ConfigError = config()
        self.engines: list[NamedEngine] = []
        self.gate = threading.Event()
        """Of engines that are opened from now on."""
        self.gate.set()
        self.all_gates = [self.gate]

    def install(self, *names: str) -> None:
        for name in names:
            folder = self.paths.models / name
            shutil.copytree(EMBEDDED, folder)
            self.change(name, name=name)

    def change(self, model: str, **fields: object) -> None:
        """Another manifest for an installed model."""
        file = self.paths.models / model / MANIFEST
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    def close_gate(self) -> threading.Event:
        self.gate = threading.Event()
        self.all_gates.append(self.gate)
        return self.gate

    def read(self) -> Config:
        if isinstance(self.config, ConfigError):
            raise self.config
        return self.config

    def serve_devices(
        self, bundle: Bundle, settings: DeviceSettings, *, max_queued: int, tables: Path | None
    ) -> Opened:
        def open_engine() -> NamedEngine:
            self.engines.append(NamedEngine(bundle.name, self.gate))
            return self.engines[-1]

        router = Router({"cpu": open_engine}, max_queued=max_queued)
        router.open("cpu")
        return Opened(router, Biasing.of(bundle))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Steward, Sessions]]:
        sessions = Sessions((), self.read().sessions)
        steward = Steward(self.read(), self.paths, sessions, read=self.read)
        await steward.begin()
        try:
            yield steward, sessions
        finally:
            for gate in self.all_gates:
                gate.set()
            assert await steward.close(WAIT_SECONDS)


def config(name: str = "one") -> Config:
    # Without detection, so that what is cut follows from lengths alone.
    return Config(model=ModelSettings(name), vad=VadSettings(detector="off"), segmentation=CUT)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    made.install("one", "two")
    monkeypatch.setattr(stewards, "serve_devices", made.serve_devices)
    yield made
    for gate in made.all_gates:
        gate.set()


class Speaker:
    """A stream whose speech comes when the test says so."""

    def __init__(self, sessions: Sessions, **options: object) -> None:
        self._chunks: asyncio.Queue[Samples | None] = asyncio.Queue()
        self._heard: asyncio.Queue[Result | None] = asyncio.Queue()
        self.results: list[Result] = []
        self._task = asyncio.create_task(self._listen(sessions, **options))

    def say(self) -> None:
        """Two seconds: a segment."""
        self._chunks.put_nowait(speech(2.0))

    async def hears(self) -> str:
        async with asyncio.timeout(WAIT_SECONDS):
            result = await self._heard.get()
        if result is None:
            await self._task
            return "(nothing more)"
        return result.text

    async def ends(self) -> None:
        self._chunks.put_nowait(None)
        async with asyncio.timeout(WAIT_SECONDS):
            await self._task

    async def _listen(self, sessions: Sessions, **options: object) -> None:
        try:
            async with aclosing(sessions.stream(self._spoken(), **options)) as results:  # type: ignore[arg-type]
                async for result in results:
                    self.results.append(result)
                    self._heard.put_nowait(result)
        finally:
            self._heard.put_nowait(None)

    async def _spoken(self) -> AsyncIterator[Samples]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


async def test_a_stream_goes_on_across_a_reload_and_its_next_segments_use_the_new_model(
    machine: Machine,
) -> None:
    async with machine.running() as (steward, sessions):
        speaker = Speaker(sessions)
        speaker.say()
        assert await speaker.hears() == "one"
        machine.config = config("two")
        done = await steward.reload()
        speaker.say()
        assert await speaker.hears() == "two"
        await speaker.ends()
        assert [model.name for model in sessions.models.serving] == ["two"]
    assert done.changes == ("model two instead of one",)
    assert done.needs_restart == ()


async def test_a_segment_that_has_begun_is_answered_by_the_old_model_which_then_leaves_the_memory(
    machine: Machine,
) -> None:
    gate = machine.close_gate()
    async with machine.running() as (steward, sessions):
        speaker = Speaker(sessions)
        speaker.say()
        assert await asyncio.to_thread(machine.engines[0].begun.wait, WAIT_SECONDS)
        machine.close_gate().set()
        await steward.reload("two")
        speaker.say()
        gate.set()
        assert [await speaker.hears(), await speaker.hears()] == ["one", "two"]
        gone = threading.Event()
        weakref.finalize(machine.engines.pop(0), gone.set)
        assert await asyncio.to_thread(gone.wait, WAIT_SECONDS)
        await speaker.ends()


async def test_streams_across_many_reloads_lose_no_audio_and_keep_its_order(machine: Machine) -> None:
    async with machine.running() as (steward, sessions):
        speakers = [Speaker(sessions) for _ in range(8)]
        for turn in range(6):
            for speaker in speakers:
                speaker.say()
            if turn % 2:
                await steward.reload("two" if turn % 4 == 1 else "one")
        for speaker in speakers:
            await speaker.ends()
    for speaker in speakers:
        results = speaker.results
        assert {result.text for result in results} <= {"one", "two"}
        assert (results[0].start, results[-1].end) == (0.0, 12.0)
        assert all(one.end == two.start for one, two in pairwise(results))


async def test_a_reload_to_a_damaged_bundle_is_refused_and_the_old_model_goes_on(machine: Machine) -> None:
    (machine.paths.models / "two" / "encoder-model.onnx").write_bytes(b"half")
    async with machine.running() as (steward, sessions):
        speaker = Speaker(sessions)
        with pytest.raises(BundleError, match=r"two: encoder-model.onnx has 4 bytes"):
            await steward.reload("two")
        speaker.say()
        assert await speaker.hears() == "one"
        await speaker.ends()
        assert steward.config.model.name == "one"
    assert len(machine.engines) == 1


async def test_a_reload_to_a_wrong_configuration_is_refused_and_nothing_changes(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    async with machine.running() as (steward, sessions):
        machine.config = ConfigError("configuration c.toml: vad.aggressiveness must be 0, 1, 2 or 3, not 9")
        with pytest.raises(ConfigError, match="not 9"):
            await steward.reload()
        assert sessions.models.named().name == "one"
    assert "reload refused, all goes on as before: configuration c.toml" in caplog.text


async def test_when_one_of_several_models_cannot_be_opened_none_is_replaced(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine.running() as (steward, sessions):
        await steward.load("two")
        before = sessions.models.serving
        machine.change("one", verification={"changed": 1})
        machine.change("two", verification={"changed": 1})
        opened = machine.serve_devices

        def refuse_two(
            bundle: Bundle, settings: DeviceSettings, *, max_queued: int, tables: Path | None
        ) -> Opened:
            if bundle.name == "two":
                raise BundleError(bundle.path, "no device takes it")
            return opened(bundle, settings, max_queued=max_queued, tables=tables)

        monkeypatch.setattr(stewards, "serve_devices", refuse_two)
        with pytest.raises(BundleError, match="no device takes it"):
            await steward.reload()
        assert sessions.models.serving == before


async def test_a_reload_without_a_change_opens_nothing(machine: Machine) -> None:
    async with machine.running() as (steward, sessions):
        before = sessions.models.named()
        done = await steward.reload()
        assert sessions.models.named() is before
    assert (done.changes, done.needs_restart) == ((), ())
    assert len(machine.engines) == 1


async def test_a_model_whose_files_have_changed_is_opened_anew(machine: Machine) -> None:
    async with machine.running() as (steward, sessions):
        before = sessions.models.named()
        machine.change("one", verification={"changed": 1})
        done = await steward.reload()
        assert sessions.models.named() is not before
    assert done.changes == ("model one opened anew: its files have changed",)


async def test_settings_hold_for_new_streams_or_are_named_as_waiting_for_a_restart(machine: Machine) -> None:
    async with machine.running() as (steward, sessions):
        machine.config = replace(
            config(),
            limits=LimitSettings(max_streams=3, max_message_mib=8),
            server=ServerSettings(listen=("127.0.0.1:1",), drain_seconds=1.5),
        )
        done = await steward.reload()
        assert sessions.settings.max_streams == 3
        assert steward.config.server.drain_seconds == 1.5
    assert set(done.changes) == {"limits.max_streams = 3", "server.drain_seconds = 1.5"}
    assert set(done.needs_restart) == {"server.listen", "limits.max_message_mib"}
    assert len(machine.engines) == 1


async def test_other_device_settings_open_the_model_anew(machine: Machine) -> None:
    async with machine.running() as (steward, _):
        machine.config = replace(config(), device=DeviceSettings(threads=1))
        done = await steward.reload()
    assert done.changes == (
        "model one opened anew: its device settings have changed",
        "device.threads = 1",
    )


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
