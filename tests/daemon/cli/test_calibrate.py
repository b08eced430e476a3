"""`parakeetd calibrate`: on the embedded model for real, and on devices whose times are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from commands import Command, served
from parakeetd import engines
from parakeetd.cli import calibrate
from parakeetd.config import Paths
from parakeetd.errors import DeviceError
from parakeetd.measure.timing import Cell
from parakeetd.model.forms import Decoding
from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration
from parakeetd.routing.calibration_file import read_calibration
from parakeetd.routing.fake import FakeEngine


@pytest.fixture
def table(env: dict[str, str]) -> Path:
    """Where the embedded model's table is kept."""
    return Paths.from_environment(env).calibration / "demo.json"


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that needs 200 ms and then 5 ms a second, beside a CPU that needs 105 ms a second: they cross at 2 s."""

    def recognizers(bundle: object, settings: object) -> Mapping[Device, Callable[[], FakeEngine]]:
        return {"cpu": FakeEngine, "cuda": FakeEngine}

    def timed(opened: object) -> Callable[[Cell], float]:
        return lambda cell: (
            cell.audio_seconds * 0.105 if cell.device == "cpu" else 0.2 + cell.audio_seconds * 0.005
        )

    def measured(bundle: object, devices: Sequence[Device], **_: object) -> dict[str, dict[str, Decoding]]:
        return {device: {"1": Decoding("loop", 1, 2.0)} for device in devices}

    monkeypatch.setattr(calibrate, "recognizers", recognizers)
    monkeypatch.setattr(calibrate, "measure_decoding", measured)
    monkeypatch.setattr(calibrate, "Timed", timed)


def stored(path: Path) -> Calibration:
    found = read_calibration(path)
    assert found is not None
    return found


def test_the_embedded_model_is_measured_and_the_daemon_goes_by_it(
    parakeetd: Command, env: dict[str, str], table: Path
) -> None:
    outcome = parakeetd("calibrate", "--device", "cpu", "--seconds", "1")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("demo on ")
    assert "only cpu was measured" in outcome.out
    assert f"written to {table}" in outcome.out
    assert f"drawn in {table.with_suffix('.svg')}" in outcome.out
    assert table.with_suffix(".svg").read_bytes().startswith(b"<?xml")
    assert stored(table).devices == ("cpu",)
    assert list(stored(table).decoding["cpu"]) == ["1", "4", "8"]
    with served("--listen", "127.0.0.1:0", "--device", "cpu", env=env) as daemon:
        assert any(f"only cpu was measured ({table})" in line for line in daemon.said)


def test_the_table_and_the_crossover_are_printed(parakeetd: Command, two_devices: None, table: Path) -> None:
    outcome = parakeetd("calibrate")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    head = next(line for line in lines if line.startswith("segment"))
    batches = "CPU CPU x 2 CPU x 4 CPU x 8 GPU GPU x 2 GPU x 4 GPU x 8 GPU x 16 GPU x 32"
    assert " ".join(head.split()) == f"segment {batches}"
    row = next(line for line in lines if line.startswith("1 s"))
    assert row.split()[2:4] == ["105.0", "ms"]
    assert "the GPU is faster from 2.0 s" in lines
    assert stored(table).crossover() == pytest.approx(2.0)


def test_json_holds_everything(parakeetd: Command, two_devices: None, table: Path) -> None:
    outcome = parakeetd("calibrate", "--json")
    found = json.loads(outcome.out)
    assert found["crossover_seconds"] == pytest.approx(2.0)
    assert found["identity"]["bundle"] == "demo"
    assert {"device": "cpu", "seconds": 2.0, "batch": 4, "median_seconds": pytest.approx(0.84)} in found[
        "points"
    ]
    assert len(found["points"]) == len(stored(table).points)


def test_what_decodes_fastest_here_is_kept_and_printed(
    parakeetd: Command, two_devices: None, table: Path
) -> None:
    outcome = parakeetd("calibrate")
    assert "decoder on cpu, 20 s of speech: loop 2.0 ms for 1" in outcome.out.splitlines()
    assert stored(table).decoding == {
        "cpu": {"1": Decoding("loop", 1, 2.0)},
        "cuda": {"1": Decoding("loop", 1, 2.0)},
    }


def test_the_plot_goes_where_it_is_wanted(
    parakeetd: Command, two_devices: None, tmp_path: Path, table: Path
) -> None:
    outcome = parakeetd("calibrate", "--plot", tmp_path / "curves.svg")
    assert f"drawn in {tmp_path / 'curves.svg'}" in outcome.out
    assert "crossover 2.0 s" in (tmp_path / "curves.svg").read_text()
    assert not table.with_suffix(".svg").exists()


def test_a_plot_that_cannot_be_written_is_said_before_anything_is_measured(
    parakeetd: Command, tmp_path: Path, table: Path
) -> None:
    outcome = parakeetd("calibrate", "--plot", tmp_path / "none" / "curves.svg")
    assert outcome.code == 2
    assert "none/curves.svg" in outcome.error
    assert not table.exists()


def test_measuring_one_device_keeps_the_times_of_the_other(
    parakeetd: Command, two_devices: None, table: Path
) -> None:
    parakeetd("calibrate")
    gpu = [point for point in stored(table).points if point.device == "cuda"]
    parakeetd("calibrate", "--device", "cuda", "--seconds", "5")
    assert stored(table).devices == ("cpu", "cuda")
    assert [point for point in stored(table).points if point.device == "cuda"] != gpu
    assert set(stored(table).decoding) == {"cpu", "cuda"}


def test_times_of_another_machine_are_not_kept(parakeetd: Command, two_devices: None, table: Path) -> None:
    parakeetd("calibrate")
    raw = json.loads(table.read_text())
    raw["identity"]["processor"] = "another"
    table.write_text(json.dumps(raw))
    parakeetd("calibrate", "--device", "cuda")
    assert stored(table).devices == ("cuda",)


def test_a_damaged_table_is_replaced(parakeetd: Command, two_devices: None, table: Path) -> None:
    table.parent.mkdir(parents=True)
    table.write_text("{")
    assert parakeetd("calibrate").code == 0
    assert stored(table).devices == ("cpu", "cuda")


def test_a_gpu_that_is_wanted_and_absent_is_named(
    parakeetd: Command, monkeypatch: pytest.MonkeyPatch, table: Path
) -> None:
    def absent(device: Device) -> None:
        raise DeviceError(device, "no driver")

    monkeypatch.setattr(engines, "probe", absent)
    outcome = parakeetd("calibrate", "--device", "cuda")
    assert outcome.code == 1
    assert outcome.error == "parakeetd: device cuda: no driver"
    assert not table.exists()


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "1e9"])
def test_a_time_that_makes_no_sense_is_wrong_usage(parakeetd: Command, seconds: str) -> None:
    outcome = parakeetd("calibrate", "--seconds", seconds)
    assert outcome.code == 2
    assert "--seconds" in outcome.error


def test_a_folder_that_cannot_be_written_is_named(parakeetd: Command, two_devices: None, table: Path) -> None:
    table.parent.parent.mkdir(parents=True)
    table.parent.write_text("")
    outcome = parakeetd("calibrate")
    assert outcome.code == 1
    assert f"calibration {table}: cannot be written" in outcome.error
