"""The daemon on a machine with a GPU that has not been measured, with fakes in place of the models."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from parakeetd import engines
from parakeetd.app import Daemon
from parakeetd.config import Config, Paths, ServerSettings
from parakeetd.measure.background import Activity
from parakeetd.model.bundle import Bundle
from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration
from parakeetd.routing.calibration_file import write_calibration
from parakeetd.routing.fake import FakeEngine

PATIENCE_SECONDS = 30.0


class FakeRecognizer:
    @staticmethod
    def open(bundle: Bundle, *, device: Device, **settings: object) -> FakeEngine:
        return FakeEngine()


async def test_it_is_measured_after_the_daemon_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = threading.Event()
    found: list[tuple[Path, Calibration]] = []

    def write(path: Path, calibration: Calibration) -> None:
        found.append((path, calibration))
        write_calibration(path, calibration)
        written.set()

    monkeypatch.setattr(engines, "look_for_gpu", lambda *, insist: "a GPU")
    monkeypatch.setattr(engines, "ChildHome", lambda model, command: FakeEngine)
    monkeypatch.setattr(engines, "Recognizer", FakeRecognizer)
    monkeypatch.setattr(engines, "Activity", lambda: Activity(quiet_seconds=0.0))
    monkeypatch.setattr(engines, "write_calibration", write)
    config = Config(server=ServerSettings(listen=(f"unix:{tmp_path}/p.sock",), drain_seconds=0.0))
    paths = Paths(tmp_path / "c.toml", tmp_path / "models", tmp_path / "calibration", None)
    async with Daemon(config, paths) as daemon:
        assert daemon.addresses
        assert await asyncio.to_thread(written.wait, PATIENCE_SECONDS)
    [(path, calibration)] = found
    assert path == tmp_path / "calibration" / "demo.json"
    assert calibration.devices == ("cpu", "cuda")
