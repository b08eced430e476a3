"""What a reload changes while streams go on, and what it refuses."""

from __future__ import annotations

import asyncio
import threading
import weakref
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from folders_of_models import WAIT_SECONDS, Machine, Speaker, config
from parakeetd import steward as stewards
from parakeetd.config import (
    DeviceSettings,
    LimitSettings,
    ServerSettings,
)
from parakeetd.engines import Opened
from parakeetd.errors import BundleError, ConfigError
from parakeetd.model.bundle import Bundle


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
