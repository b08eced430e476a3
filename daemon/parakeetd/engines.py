"""Opens a model's devices: which there are, the router over them, and what was measured of them. Shared by the daemon
and the Python API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from parakeetd.config import DeviceSettings
from parakeetd.errors import CalibrationError, DeviceError
from parakeetd.measure.background import Activity, BackgroundMeasuring, SharedEngine
from parakeetd.measure.machine import identity_of
from parakeetd.model.biasing import Biasing
from parakeetd.model.bundle import Bundle, Precision
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, probe
from parakeetd.routing import Router
from parakeetd.routing.calibration import Calibration, Identity, Point, estimate_of, in_words
from parakeetd.routing.calibration_file import read_calibration, table_file, write_calibration

log = logging.getLogger(__name__)

Factories = Mapping[Device, Callable[[], Recognizer]]
"""How to open the model on each device."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model's devices at work."""

    router: Router
    biasing: Biasing
    """What phrases and languages mean for the model, the same on all its devices."""
    measuring: BackgroundMeasuring | None = None
    """Not started yet; None when there is nothing to measure."""

    def close(self, timeout: float) -> bool:
        """Answer what was submitted and end the threads. False when that took longer than `timeout` seconds."""
        measured = self.measuring is None or self.measuring.stop(timeout)
        return self.router.close(timeout) and measured


def open_devices(
    bundle: Bundle, settings: DeviceSettings, *, max_queued: int, tables: Path | None = None
) -> Opened:
    """A router with the bundle's model open on the device that `settings` ask for.

    The other device, if there is one, is opened when it would be of use. Without a table of times that holds for this
    machine, and with two devices to choose from, what would measure them comes along.

    Args:
        tables: folder of the tables of times; None to use none.

    Raises:
        BundleError: the bundle cannot be used.
        DeviceError: `cuda` was asked for and cannot be had.
    """
    biasing = Biasing.of(bundle)
    factories = recognizers(bundle, settings, biasing)
    activity = Activity()
    engines = {device: SharedEngine(factory, activity) for device, factory in factories.items()}
    wanted = identity(bundle, settings, factories)
    calibration = None if tables is None else usable_calibration(tables, wanted)
    router = Router(
        {device: engine.open for device, engine in engines.items()},
        estimate=None if calibration is None else estimate_of(calibration),
        threshold_seconds=0.0 if settings.choice == "cuda" else settings.threshold_seconds,
        max_queued=max_queued,
    )
    router.open("cuda" if settings.choice == "cuda" else "cpu")
    if tables is None or calibration is not None or not chooses_by_time(settings, factories):
        return Opened(router, biasing)
    use = partial(_use_measured, router, wanted, tables)
    return Opened(router, biasing, BackgroundMeasuring(engines, activity, use))


def recognizers(bundle: Bundle, settings: DeviceSettings, biasing: Biasing | None = None) -> Factories:
    """How to open the model on each device that works and that `settings` allow.

    Args:
        biasing: what they share.

    Raises:
        BundleError: the bundle does not have the precision.
        DeviceError: `cuda` was asked for and cannot be had.
    """
    precision = _precision(settings)
    # Said now, not when the first segment comes to a device that is opened later.
    bundle.precision_for("cpu", precision)
    factories: dict[Device, Callable[[], Recognizer]] = {
        "cpu": partial(
            Recognizer.open,
            bundle,
            device="cpu",
            threads=settings.threads,
            precision=precision,
            biasing=biasing,
        )
    }
    if settings.choice != "cpu":
        try:
            probe("cuda")
        except DeviceError as error:
            if settings.choice == "cuda":
                raise
            log.info("no GPU is used: %s", error.reason)
        else:
            factories["cuda"] = partial(
                Recognizer.open, bundle, device="cuda", precision=precision, biasing=biasing
            )
    return factories


def chooses_by_time(settings: DeviceSettings, factories: Factories) -> bool:
    """Whether there are two devices, and their times decide between them."""
    return len(factories) > 1 and settings.choice == "auto" and settings.threshold_seconds is None


def identity(bundle: Bundle, settings: DeviceSettings, devices: Iterable[Device]) -> Identity:
    """What a table of times must have been measured on to be used.

    With `cuda` asked for the CPU only stands in: a table need not know it.

    Args:
        devices: those that work.

    Raises:
        BundleError: the bundle does not have the precision.
    """
    used: list[Device] = ["cuda"] if settings.choice == "cuda" else list(devices)
    return identity_of(bundle, used, threads=settings.threads, precision=_precision(settings))


def usable_calibration(tables: Path, wanted: Identity) -> Calibration | None:
    """The model's table, if there is one that holds here; the log says which, or why not."""
    path = table_file(tables, wanted.bundle)
    measure = f"measure with: parakeetd calibrate --model {wanted.bundle}"
    try:
        calibration = read_calibration(path)
    except CalibrationError as error:
        log.warning("%s; it is not used; %s", error, measure)
        return None
    if calibration is None:
        log.info("no times of %s were measured here, defaults are used; %s", wanted.bundle, measure)
        return None
    if differences := calibration.differences(wanted):
        log.info("calibration %s is not used: %s; %s", path, "; ".join(differences), measure)
        return None
    log.info("times as measured on %s: %s (%s)", calibration.measured[:10], in_words(calibration), path)
    return calibration


def _use_measured(router: Router, identity: Identity, tables: Path, points: tuple[Point, ...]) -> None:
    calibration = Calibration(identity, points, datetime.now(UTC).isoformat(timespec="seconds"))
    router.use_estimate(estimate_of(calibration))
    path = table_file(tables, identity.bundle)
    try:
        write_calibration(path, calibration)
    except CalibrationError as error:
        log.warning("%s; what was measured is used until the daemon ends", error)
    else:
        log.info("measured this machine while it was quiet: %s (%s)", in_words(calibration), path)


def _precision(settings: DeviceSettings) -> Precision | None:
    return None if settings.precision == "auto" else settings.precision
