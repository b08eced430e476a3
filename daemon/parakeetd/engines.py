"""Opens a model's devices: which there are, the router over them, and what was measured of them. Shared by the daemon
and the Python API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from parakeetd import child
from parakeetd.child import ChildHome, ModelToOpen
from parakeetd.child.process import COMMAND
from parakeetd.config import DeviceSettings
from parakeetd.errors import CalibrationError, DeviceError
from parakeetd.measure.background import Activity, BackgroundMeasuring, SharedEngine
from parakeetd.measure.driver import driver_is_installed
from parakeetd.measure.machine import identity_of
from parakeetd.model.biasing import Biasing
from parakeetd.model.bundle import MANIFEST, Architecture, Bundle, Precision, sha256
from parakeetd.model.opening import is_small, lanes_for
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, probe
from parakeetd.routing import SMALL_ONCE, Estimate, Opener, Router, default_estimate, limits_for
from parakeetd.routing.calibration import Calibration, Identity, Point, estimate_of, in_words
from parakeetd.routing.calibration_file import read_calibration, table_file, write_calibration

log = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
"""For what was opened before something else failed."""

CHILD: Sequence[str] = COMMAND
"""What a child process is started with; tests put something in its place that needs no GPU."""

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


@dataclass(frozen=True, slots=True)
class Homes:
    """Where a model is to live on each device that works and is allowed."""

    devices: Collection[Device]
    openers: Callable[[Bundle], Mapping[Device, Opener]]
    """How to open the model there; it raises BundleError when it does not have the precision."""
    gpu: str | None = None
    """The GPU and its driver in words, where another process has looked at it."""


def open_devices(
    bundle: Bundle, settings: DeviceSettings, *, max_queued: int, tables: Path | None = None
) -> Opened:
    """A router with the bundle's model open on the device that `settings` ask for, all in this process and for as long
    as it runs: for programs that recognise and end.

    The other device, if there is one, is opened when it would be of use. Without a table of times that holds for this
    machine, and with two devices to choose from, what would measure them comes along.

    Args:
        tables: folder of the tables of times; None to use none.

    Raises:
        BundleError: the bundle cannot be used.
        DeviceError: `cuda` was asked for and cannot be had.
    """
    biasing = Biasing.of(bundle)
    devices = _usable(settings)
    homes = Homes(devices, lambda followed: _here(followed, settings, devices, biasing))
    return _open(bundle, settings, biasing, homes, max_queued=max_queued, tables=tables, idle_seconds={})


def serve_devices(
    bundle: Bundle, settings: DeviceSettings, *, max_queued: int, tables: Path | None = None
) -> Opened:
    """The same for a daemon, which runs for months: the GPU's engine lives in a process of its own, and engines that
    are not used leave. This process never touches the GPU."""
    biasing = Biasing.of(bundle)
    # Where the GPU is insisted on, the CPU stands in while that is not there, and goes as it does.
    stand_in = settings.gpu_idle_seconds if settings.choice == "cuda" else 0.0
    wanted: dict[Device, float] = {
        "cpu": settings.cpu_idle_seconds or stand_in,
        "cuda": settings.gpu_idle_seconds,
    }
    idle = {device: seconds for device, seconds in wanted.items() if seconds}
    homes = separate_homes(bundle, settings, biasing)
    return _open(bundle, settings, biasing, homes, max_queued=max_queued, tables=tables, idle_seconds=idle)


def _open(
    bundle: Bundle,
    settings: DeviceSettings,
    biasing: Biasing,
    homes: Homes,
    *,
    max_queued: int,
    tables: Path | None,
    idle_seconds: Mapping[Device, float],
) -> Opened:
    wanted = identity(bundle, settings, homes.devices, gpu=homes.gpu)
    calibration = None if tables is None else usable_calibration(tables, wanted)
    # Measured on this machine, maybe in another precision than the manifest's record, and surely in this one.
    followed = bundle if calibration is None else bundle.decoded_as(calibration.decoding)
    architecture = bundle.manifest.architecture
    lanes = lanes_for(architecture, settings.threads)
    activity = Activity()
    engines = {device: SharedEngine(opener, activity) for device, opener in homes.openers(followed).items()}
    router = Router(
        engines,
        estimate=_guess(architecture, lanes) if calibration is None else estimate_of(calibration),
        threshold_seconds=0.0 if settings.choice == "cuda" else settings.threshold_seconds,
        limits=limits_for(lanes),
        max_queued=max_queued,
        idle_seconds=idle_seconds,
    )
    try:
        router.open("cuda" if settings.choice == "cuda" else "cpu")
    except Exception:
        router.close(CLOSE_SECONDS)
        raise
    if tables is None or calibration is not None or not chooses_by_time(settings, engines):
        return Opened(router, biasing)
    use = partial(_use_measured, router, wanted, tables)
    return Opened(router, biasing, BackgroundMeasuring(engines, activity, use, open_device=router.open))


def _guess(architecture: Architecture, lanes: int) -> Estimate:
    """Predicted times on a machine that has not been measured."""
    return default_estimate(cpu_once=SMALL_ONCE if is_small(architecture) else 0.0, cpu_lanes=lanes)


def recognizers(bundle: Bundle, settings: DeviceSettings, biasing: Biasing | None = None) -> Factories:
    """How to open the model on each device that works and that `settings` allow.

    Args:
        biasing: what they share.

    Raises:
        BundleError: the bundle does not have the precision.
        DeviceError: `cuda` was asked for and cannot be had.
    """
    return _here(bundle, settings, _usable(settings), biasing)


def _here(
    bundle: Bundle, settings: DeviceSettings, devices: Collection[Device], biasing: Biasing | None
) -> Factories:
    """How to open the model on each of these devices in this process."""
    factories: dict[Device, Callable[[], Recognizer]] = {"cpu": _on_cpu(bundle, settings, biasing)}
    if "cuda" in devices:
        factories["cuda"] = partial(
            Recognizer.open, bundle, device="cuda", precision=_precision(settings), biasing=biasing
        )
    return factories


def _usable(settings: DeviceSettings) -> tuple[Device, ...]:
    """The devices that work and that `settings` allow.

    Raises:
        DeviceError: `cuda` was asked for and cannot be had.
    """
    if settings.choice != "cpu":
        try:
            probe("cuda")
        except DeviceError as error:
            if settings.choice == "cuda":
                raise
            log.info("no GPU is used: %s", error.reason)
        else:
            return ("cpu", "cuda")
    return ("cpu",)


def separate_homes(bundle: Bundle, settings: DeviceSettings, biasing: Biasing) -> Homes:
    """As `recognizers`, with the GPU's engine in a process of its own, and the CPU's where `settings` say so; another
    one has looked whether there is a GPU.

    Raises:
        BundleError: the bundle does not have the precision.
        DeviceError: `cuda` was asked for and cannot be had.
    """
    # Said now: looking for the GPU takes a while.
    bundle.precision_for("cpu", _precision(settings))

    alone: tuple[Device, ...] = ("cpu",)

    def on_cpu(followed: Bundle) -> Mapping[Device, Opener]:
        here = _on_cpu(followed, settings, biasing)
        return {"cpu": _apart(followed, settings, "cpu") if settings.cpu_process else here}

    if settings.choice == "cpu":
        return Homes(alone, on_cpu)
    try:
        gpu = look_for_gpu(insist=settings.choice == "cuda")
    except DeviceError as error:
        if settings.choice == "cuda":
            raise
        log.info("no GPU is used: %s", error.reason)
        return Homes(alone, on_cpu)

    def on_both(followed: Bundle) -> Mapping[Device, Opener]:
        return {**on_cpu(followed), "cuda": _apart(followed, settings, "cuda")}

    return Homes((*alone, "cuda"), on_both, gpu)


def _apart(bundle: Bundle, settings: DeviceSettings, device: Device) -> ChildHome:
    model = ModelToOpen(
        bundle.path,
        sha256(bundle.path / MANIFEST),
        device,
        settings.threads,
        _precision(settings),
        bundle.manifest.decoding.get(device, {}),
    )
    return ChildHome(model, CHILD)


def look_for_gpu(*, insist: bool) -> str:
    """The GPU and its driver in words.

    Args:
        insist: have it tried even where it cannot work, for the exact reason.

    Raises:
        DeviceError: there is none, or it does not work.
    """
    # Most machines: no process is needed to tell.
    if not insist and not driver_is_installed():
        raise DeviceError("cuda", "NVIDIA's driver (libcuda.so.1) is not installed")
    return child.look(CHILD)


def _on_cpu(bundle: Bundle, settings: DeviceSettings, biasing: Biasing | None) -> Callable[[], Recognizer]:
    precision = _precision(settings)
    # Said now, not when the first segment comes to a device that is opened later.
    bundle.precision_for("cpu", precision)
    return partial(
        Recognizer.open, bundle, device="cpu", threads=settings.threads, precision=precision, biasing=biasing
    )


def chooses_by_time(settings: DeviceSettings, devices: Collection[Device]) -> bool:
    """Whether there are two devices, and their times decide between them."""
    return len(devices) > 1 and settings.choice == "auto" and settings.threshold_seconds is None


def identity(
    bundle: Bundle, settings: DeviceSettings, devices: Iterable[Device], *, gpu: str | None = None
) -> Identity:
    """What a table of times must have been measured on to be used.

    With `cuda` asked for the CPU only stands in: a table need not know it.

    Args:
        devices: those that work.
        gpu: the GPU and its driver in words; the driver is asked when it is not given.

    Raises:
        BundleError: the bundle does not have the precision.
    """
    used: list[Device] = ["cuda"] if settings.choice == "cuda" else list(devices)
    return identity_of(bundle, used, threads=settings.threads, precision=_precision(settings), gpu=gpu)


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
