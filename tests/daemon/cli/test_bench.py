"""`parakeetd bench`: a short run for real, and its figures from times that are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import Command
from parakeetd.cli import bench
from parakeetd.measure.process import Footprint, NotStarted, measure_daemon, median_footprint
from parakeetd.measure.stages import Stages
from parakeetd.routing.calibration import DeviceIdentity, Identity, Point


def test_a_short_run_measures_speed_stages_start_and_memory(
    parakeetd: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    monkeypatch.setattr(bench, "STARTS", 1)
    figures, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    outcome = parakeetd("bench", "--device", "cpu", "--seconds", "1", "--json", figures, "--plot", plot)
    assert (outcome.code, outcome.err) == (0, "")
    for part in ("demo on ", "RTFx", "time of one batch", "where the time of 10 s goes", "ready after"):
        assert part in outcome.out
    found = json.loads(figures.read_text())
    for row in found["points"]:
        # Rounded to three places.
        assert row["rtfx"] == pytest.approx(row["seconds"] * row["batch"] / row["median_seconds"], abs=1e-3)
    assert set(found["stages"]) == set(found["daemons"]) == {"cpu"}
    assert all(value > 0 for value in found["stages"]["cpu"].values())
    daemon = found["daemons"]["cpu"]
    assert daemon["ready_seconds"] > 0
    # A model is in memory.
    assert daemon["resident_ready"] > 20_000_000
    assert plot.read_bytes().startswith(b"<?xml")
    # Nothing is left behind in the user's folders.
    assert list(Path(env["HOME"]).rglob("*.json")) == []


def test_the_report_shows_each_figure_once() -> None:
    identity = Identity(
        "Xeon", 2, 8, "1.31.1", "0.1.0", "mine", "5e1f", (DeviceIdentity("cpu", "int8", threads=2),)
    )
    report = bench.Report(
        identity,
        "parakeetd 0.1.0",
        (Point("cpu", 2.0, 1, 0.1), Point("cpu", 2.0, 4, 0.2), Point("cpu", 5.0, 1, 0.2)),
        {"cpu": Stages(0.01, 0.08, 0.01)},
        {"cpu": Footprint(0.5, 100_000_000, 120_000_000)},
    )
    lines = [" ".join(line.split()) for line in bench._lines(report)]
    assert "2 s 20.0 40.0" in lines  # RTFx, alone and in a batch of four
    assert "5 s 25.0 -" in lines  # a batch of four was not measured there
    assert "2 s 100.0 ms 200.0 ms" in lines
    assert "CPU 10.0% 80.0% 10.0% 100.0 ms" in lines
    assert "CPU 0.50 s 100 MB 120 MB" in lines


def test_the_median_start_counts() -> None:
    starts = iter([Footprint(9.0, 1, 1), Footprint(0.5, 2, 2), Footprint(0.6, 3, 3)])
    assert median_footprint(3, lambda: next(starts)) == Footprint(0.6, 3, 3)


def test_a_daemon_that_does_not_start_says_why() -> None:
    with pytest.raises(NotStarted, match=r"did not start: parakeetd: model '0\.9b' is not installed"):
        measure_daemon(["--model", "0.9b"])


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    parakeetd: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_measured", None)
    outcome = parakeetd("bench", "--json", tmp_path / "none" / "bench.json")
    assert outcome.code == 2
    assert "none/bench.json" in outcome.error
