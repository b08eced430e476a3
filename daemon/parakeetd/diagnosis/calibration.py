"""Whether the devices' times were measured on this machine, with this model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parakeetd.config import Config, Paths, default_model
from parakeetd.diagnosis.check import Check
from parakeetd.engines import identity
from parakeetd.errors import CalibrationError, ParakeetError
from parakeetd.model.bundle import find_bundle, installed_names
from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration, Identity, in_words
from parakeetd.routing.calibration_file import read_calibration, table_file


def calibration_checks(paths: Paths, config: Config, devices: Sequence[Device]) -> Iterator[Check]:
    """The table of the model that would be served; nothing where that model cannot be used, which is said elsewhere.

    Args:
        devices: those that work and may be used.
    """
    try:
        name = config.model.name or default_model(installed_names(paths.models))
        wanted = identity(find_bundle(name, paths.models), config.device, devices)
    except ParakeetError:
        return
    try:
        found = read_calibration(table_file(paths.calibration, name))
    except CalibrationError as error:
        yield Check("calibration", "note", f"{error}; it is not used; {_mend(name)}")
        return
    yield calibration_check(found, wanted)


def calibration_check(found: Calibration | None, wanted: Identity) -> Check:
    """What there is to say about a table, and what to do about it."""
    if found is None and len(wanted.devices) < 2:
        finding = "not measured: with one device there is nothing to choose; see: parakeetd calibrate --help"
        return Check("calibration", "ok", finding)
    if found is None:
        finding = (
            f"{wanted.bundle} was not measured here, and defaults choose the device; {_mend(wanted.bundle)}"
        )
        return Check("calibration", "note", finding)
    if differences := found.differences(wanted):
        finding = f"is of another time and not used: {'; '.join(differences)}; {_mend(wanted.bundle)}"
        return Check("calibration", "note", finding)
    return Check("calibration", "ok", f"measured on {found.measured[:10]}: {in_words(found)}")


def _mend(name: str) -> str:
    return f"measure with: parakeetd calibrate --model {name}"
