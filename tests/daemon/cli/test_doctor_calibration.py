"""What `parakeetd doctor` says about the table of times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import Command
from parakeetd.config import Config, DeviceSettings, ModelSettings, Paths
from parakeetd.diagnosis.calibration import calibration_check, calibration_checks
from parakeetd.engines import identity
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration, DeviceIdentity, Identity, Point
from parakeetd.routing.calibration_file import table_file, write_calibration

CPU = DeviceIdentity("cpu", "int8", threads=2)
CUDA = DeviceIdentity("cuda", "fp16", hardware="H200")
BOTH = Identity("Xeon", 2, 8, "1.31.1", "0.1.0", "mine", "5e1f", (CPU, CUDA))
ALONE = replace(BOTH, devices=(CPU,))
TABLE = Calibration(
    BOTH,
    (Point("cpu", 1, 1, 0.1), Point("cpu", 9, 1, 0.9), Point("cuda", 1, 1, 0.2), Point("cuda", 9, 1, 0.3)),
    "2026-11-22T19:00:00+00:00",
)
MEND = "measure with: parakeetd calibrate --model mine"


@pytest.mark.parametrize(
    ("found", "wanted", "state", "named"),
    [
        (TABLE, BOTH, "ok", "measured on 2026-11-22: the GPU is faster from 2.1 s"),
        (TABLE, ALONE, "ok", "measured on 2026-11-22"),
        (None, ALONE, "ok", "with one device there is nothing to choose"),
        (None, BOTH, "note", f"mine was not measured here, and defaults choose the device; {MEND}"),
        (TABLE, replace(BOTH, processor="EPYC"), "note", f"the processor was Xeon and is EPYC; {MEND}"),
        (TABLE, replace(BOTH, manifest_sha256="new"), "note", f"the model's content is another; {MEND}"),
        (TABLE, replace(ALONE, parakeetd="0.2.0"), "note", "parakeetd was 0.1.0 and is 0.2.0"),
        (
            replace(TABLE, identity=ALONE, points=TABLE.points[:2]),
            BOTH,
            "note",
            f"cuda was not measured; {MEND}",
        ),
    ],
)
def test_absent_and_stale_tables_are_told_with_the_command_that_mends_them(
    found: Calibration | None, wanted: Identity, state: str, named: str
) -> None:
    check = calibration_check(found, wanted)
    assert check.state == state
    assert named in check.finding


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "c.toml", tmp_path / "models", tmp_path / "calibration", None)


def found_on(paths: Paths, devices: list[Device], config: Config | None = None) -> list[tuple[str, str]]:
    return [(check.state, check.finding) for check in calibration_checks(paths, config or Config(), devices)]


def test_the_table_of_the_served_model_is_looked_at(paths: Paths) -> None:
    wanted = identity(Bundle.read(EMBEDDED), DeviceSettings(), ["cpu"])
    table = Calibration(wanted, (Point("cpu", 1.0, 1, 0.1),), "2026-11-22T19:00:00+00:00")
    write_calibration(table_file(paths.calibration, "demo"), table)
    assert found_on(paths, ["cpu"]) == [("ok", "measured on 2026-11-22: only cpu was measured")]
    [(state, finding)] = found_on(paths, ["cpu", "cuda"])
    assert state == "note"
    assert "cuda was not measured; measure with: parakeetd calibrate --model demo" in finding


def test_a_damaged_table_is_a_note_with_its_file(paths: Paths) -> None:
    path = table_file(paths.calibration, "demo")
    path.parent.mkdir()
    path.write_text("{")
    [(state, finding)] = found_on(paths, ["cpu"])
    assert state == "note"
    assert str(path) in finding
    assert "measure with: parakeetd calibrate --model demo" in finding


def test_a_model_that_is_not_there_is_not_spoken_of_here(paths: Paths) -> None:
    assert found_on(paths, ["cpu"], Config(model=ModelSettings(name="0.9b"))) == []


def test_doctor_has_a_line_about_it(parakeetd: Command, env: dict[str, str]) -> None:
    def line() -> Any:
        # Addresses may be taken on the machine that tests; that is not looked at here.
        rows = json.loads(parakeetd("doctor", "--json").out)
        return next(row for row in rows if row["subject"] == "calibration")

    table = table_file(Paths.from_environment(env).calibration, "demo")
    table.parent.mkdir(parents=True)
    table.write_text("no table")
    assert line()["state"] == "note"
    assert str(table) in line()["finding"]
