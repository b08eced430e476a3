"""Calibration tables on disk: one JSON file a model."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parakeetd.errors import CalibrationError
from parakeetd.model.bundle import PRECISIONS
from parakeetd.model.forms import Decoding
from parakeetd.routing.calibration import DEVICES, Calibration, DeviceIdentity, Identity, Point

FORMAT = 1
"""Version of the file's layout. A reader refuses any other."""


def table_file(folder: Path, bundle: str) -> Path:
    """Where the table of a model is kept."""
    return folder / f"{bundle}.json"


def read_calibration(path: Path) -> Calibration | None:
    """The table in a file; None when there is no file.

    Raises:
        CalibrationError: it cannot be read, is not a table, or is one of another version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CalibrationError(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CalibrationError(path, f"is damaged: {error}") from error
    try:
        return _parsed(raw)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CalibrationError(path, f"is damaged: {what}") from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a table so that a reader sees the old one or the new one, never a part.

    Raises:
        CalibrationError: the file or its folder cannot be written.
    """
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(calibration)}, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CalibrationError(path, f"cannot be written: {error.strerror}") from error


def _parsed(raw: Any) -> Calibration:
    if not isinstance(raw, dict):
        raise TypeError(f"it holds {type(raw).__name__} instead of an object")
    if raw.get("format") != FORMAT:
        raise ValueError(f"it has format {raw.get('format')!r}, this version reads {FORMAT}")
    whole = dict(raw["identity"])
    devices = tuple(_record(DeviceIdentity, item) for item in whole.pop("devices"))
    for item in devices:
        if item.precision not in PRECISIONS:
            raise ValueError(f"{item.precision!r} is no precision")
    identity = _record(Identity, {**whole, "devices": devices})
    points = tuple(_record(Point, item) for item in raw["points"])
    if strange := {point.device for point in points} - set(DEVICES):
        raise ValueError(f"{sorted(strange)[0]!r} is no device")
    decoding = {
        device: {
            size: _record(Decoding, _object(item, f"decoding.{device}.{size}"))
            for size, item in _object(record, f"decoding.{device}").items()
        }
        for device, record in _object(raw.get("decoding", {}), "decoding").items()
    }
    if unknown := set(decoding) - set(DEVICES):
        raise ValueError(f"{sorted(unknown)[0]!r} is no device")
    return Calibration(identity, points, str(raw["measured"]), decoding)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be an object, not {value!r}")
    return value


def _record(kind: Any, raw: Mapping[str, Any]) -> Any:
    """Build one of the dataclasses above, checking the type of each field."""
    values = dict(raw)
    for item in dataclasses.fields(kind):
        value = values[item.name]
        wanted = _TYPES.get(str(item.type))
        if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise TypeError(f"{item.name} must not be {value!r}")
    return kind(**values)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "Device": (str,),
    "Form": (str,),
    "Precision": (str,),
}
