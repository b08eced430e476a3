"""How a model's devices are opened: which table of times is used, and when one is measured."""

from __future__ import annotations

import json
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import stand_in_child
from clips import CLIPS
from parakeetd import engines
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.child import ModelToOpen
from parakeetd.config import DeviceSettings
from parakeetd.engines import Opened, identity, open_devices, serve_devices
from parakeetd.errors import BundleError, DeviceError
from parakeetd.measure.background import BACKGROUND, Activity
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.forms import Decoding, Form
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device
from parakeetd.routing import DeviceReport
from parakeetd.routing.calibration import Calibration, Point
from parakeetd.routing.calibration_file import read_calibration, table_file, write_calibration
from parakeetd.routing.fake import FakeEngine
from parakeetd.routing.schedule import Step

BOTH: Sequence[Device] = ("cpu", "cuda")
PATIENCE_SECONDS = 120.0


class FakeRecognizer:
    """Opens fakes in place of models, and a GPU where there is none."""

    @staticmethod
    def open(bundle: Bundle, *, device: Device, **settings: object) -> FakeEngine:
        return FakeEngine()


@pytest.fixture
def bundle() -> Bundle:
    return Bundle.read(EMBEDDED)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, and a model on both devices."""
    monkeypatch.setattr(engines, "probe", lambda device: None)
    monkeypatch.setattr(engines, "Recognizer", FakeRecognizer)


@pytest.fixture
def opened(bundle: Bundle, gpu: None, tmp_path: Path) -> Iterator[list[Opened]]:
    """What a test opened, to be closed."""
    found: list[Opened] = []
    yield found
    for item in found:
        assert item.close(PATIENCE_SECONDS)


def table(bundle: Bundle, settings: DeviceSettings, cpu: float, cuda: float) -> Calibration:
    per_second: dict[Device, float] = {"cpu": cpu, "cuda": cuda}
    points = tuple(
        Point(device, seconds, 1, per_second[device] * seconds) for device in BOTH for seconds in (0.5, 20.0)
    )
    return Calibration(identity(bundle, settings, BOTH), points, "2026-11-22T19:00:00+00:00")


def test_the_decoder_is_the_one_that_was_fastest_on_this_machine(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DeviceSettings(choice="cpu", threads=1)
    fastest = {"1": Decoding("fused", 1, 2.0)}
    points = (Point("cpu", 0.5, 1, 0.01), Point("cpu", 20.0, 1, 0.4))
    here = Calibration(identity(bundle, settings, ["cpu"]), points, "2026-11-22T19:00:00", {"cpu": fastest})
    elsewhere = replace(here, identity=replace(here.identity, processor="another"))
    used: list[tuple[Form, ...]] = []
    open_model = Recognizer.open

    def noted(opened: Bundle, **settings: Any) -> Recognizer:
        recognizer = open_model(opened, **settings)
        used.append(recognizer.decoders.choice.forms)
        return recognizer

    monkeypatch.setattr(Recognizer, "open", noted)
    for table in (here, elsewhere):
        write_calibration(table_file(tmp_path, bundle.name), table)
        assert open_devices(bundle, settings, max_queued=8, tables=tmp_path).close(PATIENCE_SECONDS)
    assert used == [("fused",), ("steps",)]


@pytest.mark.parametrize(("layers", "together"), [(6, 3), (24, 1)], ids=["small", "large"])
def test_without_a_table_waiting_segments_of_a_small_model_are_computed_together(
    bundle: Bundle, opened: list[Opened], monkeypatch: pytest.MonkeyPatch, layers: int, together: int
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(FakeRecognizer, "open", lambda *_, **__: FakeEngine(gate=gate))
    architecture = replace(bundle.manifest.architecture, layers=layers, d_model=160 * layers // 6)
    sized = replace(bundle, manifest=replace(bundle.manifest, architecture=architecture))
    opened.append(open_devices(sized, DeviceSettings(choice="cpu"), max_queued=8))
    segment: Samples = np.ones(SAMPLE_RATE, np.float32)
    first = opened[0].router.submit(segment)
    while not first.running():
        time.sleep(0.001)
    waiting = [opened[0].router.submit(segment) for _ in range(3)]
    gate.set()
    assert [answer.result(PATIENCE_SECONDS).batch for answer in (first, *waiting)] == [1] + 3 * [together]


def test_a_child_is_told_what_decodes_fastest() -> None:
    model = ModelToOpen(EMBEDDED, "5e1f", "cuda", 0, "fp16", {"1": Decoding("loop", 1, 2.5)})
    assert ModelToOpen.of(json.loads(json.dumps(model.fields()))) == model


def device_of(opened: Opened, seconds: float) -> Device:
    """Where a segment goes."""
    samples: Samples = np.ones(round(seconds * SAMPLE_RATE), np.float32)
    return opened.router.submit(samples).result(PATIENCE_SECONDS).device


@pytest.mark.parametrize(("cpu", "cuda", "expected"), [(0.01, 0.5, "cpu"), (5.0, 0.001, "cuda")])
def test_the_router_goes_by_the_table(
    bundle: Bundle,
    opened: list[Opened],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    cpu: float,
    cuda: float,
    expected: Device,
) -> None:
    caplog.set_level(logging.INFO)
    settings = DeviceSettings()
    path = table_file(tmp_path, bundle.name)
    write_calibration(path, table(bundle, settings, cpu, cuda))
    opened.append(open_devices(bundle, settings, max_queued=8, tables=tmp_path))
    opened[0].router.open("cuda")
    assert device_of(opened[0], 10.0) == expected
    assert opened[0].measuring is None
    assert f"times as measured on 2026-11-22: the {'CPU' if expected == 'cpu' else 'GPU'}" in caplog.text
    assert str(path) in caplog.text


def test_a_table_of_another_machine_is_not_used_and_a_new_one_is_measured(
    bundle: Bundle, opened: list[Opened], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ours = table(bundle, DeviceSettings(), 0.01, 0.5)
    theirs = replace(ours, identity=replace(ours.identity, processor="a slower one"))
    write_calibration(table_file(tmp_path, bundle.name), theirs)
    opened.append(open_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path))
    assert "is not used: the processor was a slower one" in caplog.text
    assert opened[0].measuring is not None


def test_a_damaged_table_is_one_line_and_not_used(
    bundle: Bundle, opened: list[Opened], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table_file(tmp_path, bundle.name).write_text("{")
    opened.append(open_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path))
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "demo.json: is damaged" in line
    assert "parakeetd calibrate --model demo" in line
    assert "\n" not in line
    assert device_of(opened[0], 1.0) in BOTH


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a table of times has been written. Daemons are quiet at once."""
    done = threading.Event()

    def write(path: Path, calibration: Calibration) -> None:
        write_calibration(path, calibration)
        done.set()

    monkeypatch.setattr(engines, "write_calibration", write)
    monkeypatch.setattr(engines, "Activity", lambda: Activity(quiet_seconds=0.0))
    return done


def test_a_machine_with_two_devices_and_no_table_is_measured_and_routed_by_it(
    bundle: Bundle, opened: list[Opened], tmp_path: Path, written: threading.Event
) -> None:
    opened.append(open_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path))
    assert opened[0].measuring is not None
    opened[0].measuring.start()
    assert written.wait(PATIENCE_SECONDS)
    found = read_calibration(table_file(tmp_path, bundle.name))
    assert found is not None
    assert found.differences(identity(bundle, DeviceSettings(), BOTH)) == []
    assert {point.seconds for point in found.points} == set(BACKGROUND.lengths)
    # The next start has its table.
    opened.append(open_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path))
    assert opened[1].measuring is None


@pytest.mark.parametrize(
    "settings",
    [DeviceSettings(choice="cpu"), DeviceSettings(choice="cuda"), DeviceSettings(threshold_seconds=3.0)],
)
def test_where_times_choose_nothing_nothing_is_measured(
    bundle: Bundle, opened: list[Opened], tmp_path: Path, settings: DeviceSettings
) -> None:
    opened.append(open_devices(bundle, settings, max_queued=8, tables=tmp_path))
    assert opened[0].measuring is None


def test_without_a_gpu_nothing_is_measured(
    bundle: Bundle, opened: list[Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(device: Device) -> None:
        raise DeviceError(device, "no driver")

    monkeypatch.setattr(engines, "probe", absent)
    opened.append(open_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path))
    assert opened[0].measuring is None
    assert device_of(opened[0], 1.0) == "cpu"


def test_a_program_that_only_transcribes_measures_nothing(bundle: Bundle, opened: list[Opened]) -> None:
    opened.append(open_devices(bundle, DeviceSettings(), max_queued=8))
    assert opened[0].measuring is None


def test_a_length_from_which_the_gpu_is_used_goes_before_the_table(
    bundle: Bundle, opened: list[Opened], tmp_path: Path
) -> None:
    write_calibration(table_file(tmp_path, bundle.name), table(bundle, DeviceSettings(), 0.01, 0.5))
    settings = DeviceSettings(threshold_seconds=5.0)
    opened.append(open_devices(bundle, settings, max_queued=8, tables=tmp_path))
    # Until it is open, the CPU serves.
    opened[0].router.open("cuda")
    assert device_of(opened[0], 10.0) == "cuda"
    assert device_of(opened[0], 1.0) == "cpu"


def test_a_folder_that_cannot_be_written_costs_a_warning(
    bundle: Bundle, opened: list[Opened], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    opened.append(open_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path / "file"))
    points = table(bundle, DeviceSettings(), 0.01, 0.5).points
    wanted = identity(bundle, DeviceSettings(), BOTH)
    engines._use_measured(opened[0].router, wanted, tmp_path / "file", points)
    assert "cannot be written" in caplog.text
    assert "until the daemon ends" in caplog.text


@pytest.fixture
def gpu_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where another process finds a GPU."""
    monkeypatch.setattr(engines, "driver_is_installed", lambda: True)
    monkeypatch.setattr(engines, "CHILD", stand_in_child.command("fake"))


def engine_of(opened: Opened, device: Device) -> DeviceReport:
    return next(report for report in opened.router.devices() if report.device == device)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_daemon_uses_the_gpu_from_another_process_and_never_touches_it(
    bundle: Bundle, opened: list[Opened], gpu_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("the daemon looked at the GPU itself")

    monkeypatch.setattr(engines, "probe", touched)
    monkeypatch.setattr("parakeetd.measure.machine.installed_driver", touched)
    opened.append(serve_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path))
    assert (engine_of(opened[0], "cuda").engine, engine_of(opened[0], "cuda").pid) == ("closed", None)
    opened[0].router.open("cuda")
    assert engine_of(opened[0], "cuda").pid is not None
    assert engine_of(opened[0], "cpu").pid is None
    assert device_of(opened[0], 10.0) == "cuda"


def test_a_daemon_that_insists_on_the_gpu_has_it_open_at_once(
    bundle: Bundle, opened: list[Opened], gpu_process: None
) -> None:
    opened.append(serve_devices(bundle, DeviceSettings(choice="cuda"), max_queued=8))
    assert engine_of(opened[0], "cuda").engine == "open"
    assert engine_of(opened[0], "cpu").engine == "closed"
    assert device_of(opened[0], 0.5) == "cuda"


def test_a_cpu_that_stood_in_for_the_gpu_leaves_as_the_gpu_does(
    bundle: Bundle, opened: list[Opened], gpu_process: None
) -> None:
    settings = DeviceSettings(choice="cuda", threads=1, gpu_idle_seconds=0.3)
    opened.append(serve_devices(bundle, settings, max_queued=8))
    until(lambda: engine_of(opened[0], "cuda").engine == "closed")
    opened[0].router.wake()
    until(lambda: engine_of(opened[0], "cpu").openings == 1)
    until(lambda: {report.engine for report in opened[0].router.devices()} == {"closed"})


def test_a_daemon_that_insists_on_a_gpu_that_does_not_open_does_not_start(
    bundle: Bundle, gpu_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "CHILD", stand_in_child.command("broken"))
    before = threading.active_count()
    with pytest.raises(BundleError, match="SHA-256"):
        serve_devices(bundle, DeviceSettings(choice="cuda"), max_queued=8)
    until(lambda: threading.active_count() <= before)


def test_a_daemon_without_a_driver_starts_no_process(
    bundle: Bundle, opened: list[Opened], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(engines, "driver_is_installed", lambda: False)
    monkeypatch.setattr(engines, "CHILD", ("/nonexistent",))
    opened.append(serve_devices(bundle, DeviceSettings(), max_queued=8))
    assert [report.device for report in opened[0].router.devices()] == ["cpu"]
    assert "no GPU is used: NVIDIA's driver (libcuda.so.1) is not installed" in caplog.text


def test_a_quiet_daemon_measures_the_gpu_through_its_process(
    bundle: Bundle,
    opened: list[Opened],
    gpu: None,
    gpu_process: None,
    tmp_path: Path,
    written: threading.Event,
) -> None:
    opened.append(serve_devices(bundle, DeviceSettings(), max_queued=8, tables=tmp_path))
    assert opened[0].measuring is not None
    opened[0].measuring.start()
    assert written.wait(PATIENCE_SECONDS)
    found = read_calibration(table_file(tmp_path, bundle.name))
    assert found is not None
    on_gpu = found.identity.of("cuda")
    assert on_gpu is not None
    assert on_gpu.hardware == stand_in_child.GPU
    assert {point.seconds for point in found.points if point.device == "cuda"} == set(BACKGROUND.lengths)
    # Its worker knows that it is open, and will have it leave.
    assert engine_of(opened[0], "cuda").engine == "open"


def test_a_model_in_the_daemons_memory_leaves_and_comes_back(
    bundle: Bundle, opened: list[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(Recognizer):
        seen: ClassVar[list[weakref.ref[Recognizer]]] = []

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.seen.append(weakref.ref(self))

    monkeypatch.setattr(engines, "Recognizer", Watched)
    settings = DeviceSettings(choice="cpu", threads=1, cpu_idle_seconds=0.2)
    opened.append(serve_devices(bundle, settings, max_queued=8))
    until(lambda: engine_of(opened[0], "cpu").engine == "closed")
    assert [recognizer() for recognizer in Watched.seen] == [None]
    assert device_of(opened[0], 1.0) == "cpu"
    assert engine_of(opened[0], "cpu").openings == 2


def test_the_cpus_engine_can_have_a_process_of_its_own(bundle: Bundle, opened: list[Opened]) -> None:
    settings = DeviceSettings(choice="cpu", threads=1, cpu_process=True)
    opened.append(serve_devices(bundle, settings, max_queued=8))
    spoken = read_audio(CLIPS / "digits.flac")[: 4 * SAMPLE_RATE]
    [here] = Recognizer.open(bundle, threads=1).recognize([spoken])
    assert opened[0].router.submit(spoken).result(PATIENCE_SECONDS).transcript == here
    assert here.text
    assert engine_of(opened[0], "cpu").pid is not None


def test_without_idle_times_everything_stays(bundle: Bundle, opened: list[Opened], gpu_process: None) -> None:
    settings = DeviceSettings(gpu_idle_seconds=0.0)
    opened.append(serve_devices(bundle, settings, max_queued=8))
    opened[0].router.open("cuda")
    schedule = opened[0].router._schedule
    assert schedule.step("cpu", 1e9) == schedule.step("cuda", 1e9) == Step()
