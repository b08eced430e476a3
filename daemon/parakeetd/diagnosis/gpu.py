"""Why a GPU is or is not there: the card, NVIDIA's driver and the ONNX Runtime package, each asked on its own.

A session that fails to open says what it missed first. Which of the three to repair, it does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import onnxruntime
from onnxruntime.capi import build_and_package_info

from parakeetd.diagnosis.check import Check
from parakeetd.measure.driver import Driver

PCI_DEVICES = Path("/sys/bus/pci/devices")

_NVIDIA = "0x10de"
_DISPLAY = "0x03"
"""Class of displays and 3D controllers; NVIDIA also makes network cards."""

_RUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The installed ONNX Runtime."""

    packages: Mapping[str, str]
    """Versions of the installed packages that hold it; there should be one."""
    cuda: tuple[int, int] | None
    """CUDA version it was built for; None for a build without CUDA."""


def gpu_check(cards: int, driver: Driver | None, runtime: Runtime) -> Check:
    """What stands in the way of a GPU, the first thing first.

    Args:
        cards: NVIDIA display devices that are plugged in; a virtual machine or container may show none of them.
        driver: None when its library is not installed.
    """
    if driver is None and not cards:
        return Check("gpu", "ok", "this machine has no NVIDIA GPU; the CPU does the work")
    if driver is None:
        finding = "an NVIDIA GPU is plugged in and has no driver; install NVIDIA's driver (libcuda.so.1)"
        return Check("gpu", "note", finding)
    if not driver.gpus:
        finding = (
            f"NVIDIA's driver finds no GPU that it may use ({driver.failure}); look at nvidia-smi, at "
            "$CUDA_VISIBLE_DEVICES and, for a service or container, at its access to /dev/nvidia*"
        )
        return Check("gpu", "note", finding)
    found = f"{', '.join(driver.gpus)} (driver for CUDA {_version(driver.cuda)})"
    if runtime.cuda is None:
        finding = f"{found}, but this ONNX Runtime was built without CUDA; {_reinstall(runtime)}"
        return Check("gpu", "note", finding)
    # Within a major version, older drivers run newer libraries.
    if driver.cuda[0] < runtime.cuda[0]:
        finding = f"{found}, but ONNX Runtime needs CUDA {_version(runtime.cuda)}; update NVIDIA's driver"
        return Check("gpu", "note", finding)
    return Check("gpu", "ok", found)


def runtime_check(runtime: Runtime) -> Check:
    """Whether there is one ONNX Runtime: two packages of it write into the same folder."""
    listed = (
        ", ".join(f"{name} {version}" for name, version in runtime.packages.items()) or "not from a package"
    )
    if len(runtime.packages) > 1:
        finding = f"{listed} share one folder and spoil each other; {_reinstall(runtime)}"
        return Check("onnxruntime", "problem", finding)
    built = "without CUDA" if runtime.cuda is None else f"for CUDA {_version(runtime.cuda)}"
    return Check("onnxruntime", "ok", f"{listed}, built {built}")


def installed_runtime() -> Runtime:
    found = {}
    for name in _RUNTIME_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return Runtime(found, None)
    # A build from source may leave the version out.
    built = str(getattr(build_and_package_info, "cuda_version", "") or "0.0")
    major, _, minor = built.partition(".")
    return Runtime(found, (int(major), int(minor.partition(".")[0] or 0)))


def plugged_in_cards(devices: Path = PCI_DEVICES) -> int:
    """NVIDIA display devices on the PCI bus."""
    return sum(
        _text(device / "vendor") == _NVIDIA and _text(device / "class").startswith(_DISPLAY)
        for device in _entries(devices)
    )


def _reinstall(runtime: Runtime) -> str:
    return f"repair it with: pip uninstall -y {' '.join(runtime.packages)}; pip install onnxruntime-gpu"


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return ()


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
