"""What this machine is, as far as a measured time depends on it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import onnxruntime

from parakeetd import __version__
from parakeetd.measure.driver import Driver, installed_driver
from parakeetd.model.bundle import MANIFEST, Bundle, Precision, sha256
from parakeetd.model.opening import lanes_for, threads_for
from parakeetd.model.sessions import Device, physical_cores
from parakeetd.routing.calibration import DeviceIdentity, Identity

PROC = Path("/proc")


def identity_of(
    bundle: Bundle,
    devices: Sequence[Device],
    *,
    threads: int = 0,
    precision: Precision | None = None,
    gpu: str | None = None,
    proc: Path = PROC,
) -> Identity:
    """This machine with a bundle open on devices.

    Args:
        devices: those that work.
        threads: of one segment on the CPU; 0 for as many as suit the model.
        precision: the fastest on each device when not given.
        gpu: what `hardware` says of it; asked of the driver when not given.

    Raises:
        BundleError: the bundle does not have the precision.
    """
    cores = physical_cores()
    return Identity(
        processor=processor(proc),
        cores=cores,
        # In GiB: the exact number changes with the kernel.
        memory_gib=round(_meminfo(proc, "MemTotal") / 2**30),
        onnxruntime=onnxruntime.__version__,
        parakeetd=__version__,
        bundle=bundle.name,
        manifest_sha256=sha256(bundle.path / MANIFEST),
        devices=tuple(
            DeviceIdentity(
                device,
                bundle.precision_for(device, precision),
                threads=threads_for(bundle.manifest.architecture, threads) if device == "cpu" else 0,
                lanes=lanes_for(bundle.manifest.architecture, threads) if device == "cpu" else 1,
                hardware=(gpu or hardware(installed_driver())) if device == "cuda" else "",
            )
            for device in devices
        ),
    )


def hardware(driver: Driver | None) -> str:
    """The GPU that is used, which is the first, and its driver."""
    if driver is None or not driver.gpus:
        return "unknown"
    return f"{driver.gpus[0]}, driver for CUDA {driver.cuda[0]}.{driver.cuda[1]}"


def processor(proc: Path = PROC) -> str:
    """Name of the processor; its architecture where the kernel does not tell a name."""
    try:
        text = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+?)\s*$", text, re.MULTILINE)
    return named[1] if named else platform.machine()


def available_memory(proc: Path = PROC) -> int:
    """Bytes that programs can still have without swapping; 0 where the kernel does not tell."""
    return _meminfo(proc, "MemAvailable")


def resident_memory(pid: int | str = "self", proc: Path = PROC) -> int:
    """Bytes of RAM that a process occupies (RSS); 0 where the kernel does not tell."""
    return _kilobytes(proc / str(pid) / "status", "VmRSS")


def resident_with_children(pid: int, proc: Path = PROC) -> int:
    """The same of a process and those that it has started, as a daemon has one for its GPU."""
    pids: list[int | str] = [pid]
    for task in proc.glob(f"{pid}/task/*/children"):
        try:
            pids += task.read_text().split()
        except OSError:
            continue
    return sum(resident_memory(each, proc) for each in pids)


def software() -> str:
    """What a figure was measured with, in one line."""
    runtime = next(
        (name for name in ("onnxruntime-gpu", "onnxruntime") if any(metadata.distributions(name=name))),
        "onnxruntime",
    )
    return (
        f"parakeetd {__version__}, {runtime} {onnxruntime.__version__}, Python {platform.python_version()}, "
        f"Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"
    )


def _meminfo(proc: Path, name: str) -> int:
    return _kilobytes(proc / "meminfo", name)


def _kilobytes(file: Path, name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
