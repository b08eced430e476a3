"""Calibration tables on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parakeetd.errors import CalibrationError
from parakeetd.model.forms import Decoding
from parakeetd.routing.calibration import Calibration, DeviceIdentity, Identity, Point
from parakeetd.routing.calibration_file import read_calibration, table_file, write_calibration

MACHINE = Identity(
    "Xeon",
    2,
    8,
    "1.31.1",
    "0.1.0",
    "mine",
    "5e1f",
    (DeviceIdentity("cpu", "int8", threads=2), DeviceIdentity("cuda", "fp16", hardware="H200")),
)
TABLE = Calibration(
    MACHINE,
    (
        Point("cpu", 0.5, 1, 0.0625),
        Point("cpu", 20.0, 1, 1.7),
        Point("cuda", 0.5, 8, 0.1),
        Point("cuda", 0.5, 1, 0.02),
    ),
    "2026-11-22T19:00:00+00:00",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return table_file(tmp_path / "new" / "calibration", "mine")


def test_what_is_written_is_read(path: Path) -> None:
    write_calibration(path, TABLE)
    assert read_calibration(path) == TABLE
    assert [file.name for file in path.parent.iterdir()] == ["mine.json"]


def test_a_table_replaces_the_one_before(path: Path) -> None:
    write_calibration(path, TABLE)
    newer = Calibration(MACHINE, TABLE.points[:2], "2026-11-23T00:00:00+00:00")
    write_calibration(path, newer)
    assert read_calibration(path) == newer


def test_what_decodes_fastest_is_written_and_read(path: Path) -> None:
    decoding = {"cpu": {"1": Decoding("steps", 4, 3.5), "8": Decoding("loop", 1, 11.25)}, "cuda": {}}
    table = replace(TABLE, decoding=decoding)
    write_calibration(path, table)
    assert read_calibration(path) == table


def test_a_table_from_before_decoding_was_measured_is_read(path: Path) -> None:
    write_calibration(path, TABLE)
    raw = json.loads(path.read_text())
    del raw["decoding"]
    path.write_text(json.dumps(raw))
    assert read_calibration(path) == TABLE


@pytest.mark.parametrize(
    ("decoding", "named"),
    [
        ([], "decoding must be an object"),
        ({"cpu": 1}, "decoding.cpu must be an object"),
        ({"cpu": {"1": []}}, "decoding.cpu.1 must be an object"),
        ({"tpu": {}}, "'tpu' is no device"),
        ({"cpu": {"1": {"form": 1, "look_ahead": 1, "milliseconds": 1.0}}}, "form must not be 1"),
        ({"cpu": {"1": {"form": "magic", "look_ahead": 1, "milliseconds": 1.0}}}, "'magic' is no form"),
        ({"cpu": {"1": {"form": "steps", "look_ahead": 0, "milliseconds": 1.0}}}, "both count from 1"),
        ({"cpu": {"few": {"form": "steps", "look_ahead": 1, "milliseconds": 1.0}}}, "both count from 1"),
    ],
)
def test_a_record_of_decoding_that_cannot_be_is_named(path: Path, decoding: object, named: str) -> None:
    write_calibration(path, TABLE)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoding": decoding}))
    with pytest.raises(CalibrationError, match=named):
        read_calibration(path)


def test_no_file_is_no_table(path: Path) -> None:
    assert read_calibration(path) is None


def damaged(change: dict[str, Any]) -> str:
    whole: dict[str, Any] = {"format": 1, "identity": None, "points": [], "measured": ""}
    return json.dumps(whole | change)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is damaged: Expecting value"),
        ("[]", "is damaged: it holds list instead of an object"),
        ('{"format": 2}', "is damaged: it has format 2, this version reads 1"),
        ('{"format": 1}', "is damaged: 'identity' is missing"),
        (damaged({}), "is damaged"),
        ("\x00\x01", "is damaged"),
    ],
)
def test_a_damaged_file_is_one_clear_line(path: Path, text: str, named: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(CalibrationError) as caught:
        read_calibration(path)
    assert str(caught.value).startswith(f"calibration {path}: {named}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("points", 0, "median_seconds"), "fast", "median_seconds must not be 'fast'"),
        (("points", 0, "batch"), True, "batch must not be True"),
        (("points", 0, "batch"), 1.5, "batch must not be 1.5"),
        (("points", 0, "device"), "npu", "'npu' is no device"),
        (("points", 0, "median_seconds"), -1.0, "impossible times"),
        (("identity", "cores"), "two", "cores must not be 'two'"),
        (("identity", "devices", 0, "precision"), "int4", "'int4' is no precision"),
        (("points", 1, "seconds"), 0.5, "cpu has 2 times for 0.5 s in a batch of 1"),
        (("identity", "devices"), {}, "has times and no identity"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    path: Path, place: tuple[str | int, ...], value: Any, named: str
) -> None:
    write_calibration(path, TABLE)
    raw = json.loads(path.read_text())
    *way, last = place
    where = raw
    for step in way:
        where = where[step]
    where[last] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(CalibrationError, match=named):
        read_calibration(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CalibrationError, match=r"file/mine\.json: cannot be written: File exists"):
        write_calibration(tmp_path / "file" / "mine.json", TABLE)


def test_a_folder_in_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(CalibrationError, match="cannot be read: Is a directory"):
        read_calibration(path)
    with pytest.raises(CalibrationError, match="cannot be written"):
        write_calibration(path, TABLE)
    assert [file.name for file in path.parent.iterdir()] == ["mine.json"]
