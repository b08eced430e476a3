"""What would fail after minutes of work, found beforehand: each finding has its cause and what mends it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from parakeetd.errors import ParakeetError
from parakeetd.model.bundle import Precision
from parakeetd_convert.catalog import SHARE
from parakeetd_convert.toolchain import quiet

EXTRA: Final = "pip install 'parakeetd[convert]', or give --isolated"

PYTHONS: Final = ((3, 11), (3, 13))
"""First and last version of Python that parakeetd and NeMo 3 with all that it brings are known to run on."""

ISOLATED_BYTES: Final = 5_000_000_000
"""Disk of a virtual environment with the convert extra."""

_PER_WEIGHT: Final = 2.75
_BASE: Final = 900_000_000
"""Memory of a conversion into all precisions: bytes per byte of float32 weights, and of torch and NeMo without any.
A line through the measured 2.1, 7.5 and 12.6 GB of 110m, 0.6b and 1.1b."""

_SCRATCH: Final = 1.2
"""Disk of a conversion per byte of its bundle."""

_REQUIRED: Final[Mapping[str, str]] = {"torch": "torch", "nemo": "nemo_toolkit", "jiwer": "jiwer"}
"""Package by module; importing these takes long, so that it is only seen whether they are there."""

_IMPORTED: Final[Mapping[str, str]] = {
    "onnx.onnx_cpp2py_export": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime-gpu",
}
"""Package by module that is imported: those with compiled parts that break, and those that must fit each other."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands in the way."""

    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


class PreflightFailed(ParakeetError):
    """The conversion was not begun. One line for each finding."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(map(str, self.findings)))

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))


def check_conversion(weights: int, precisions: Iterable[Precision], models: Path) -> None:
    """Look at Python, the libraries, memory and disk.

    Args:
        weights: bytes of the float32 weights, about: the size of a `.nemo` file.
        models: folder of bundles, which need not exist.

    Raises:
        PreflightFailed: something stands in the way.
    """
    _raise_for(
        [
            *python_findings(sys.version_info[:2]),
            *library_findings(),
            *memory_findings(weights, available_memory()),
            *disk_findings(disk_needed(weights, precisions), models, "--models names another folder"),
        ]
    )


def check_isolated(cache: Path) -> None:
    """Look at what a throw-away environment needs, before it is made.

    Raises:
        PreflightFailed: something stands in the way.
    """
    remedy = "$XDG_CACHE_HOME names another folder"
    found = [*python_findings(sys.version_info[:2]), *disk_findings(ISOLATED_BYTES, cache, remedy)]
    if importlib.util.find_spec("ensurepip") is None:
        found.append(
            Finding(
                f"{sys.executable} cannot make virtual environments (it has no ensurepip)",
                "install it with: apt-get install python3-venv",
            )
        )
    _raise_for(found)


def python_findings(version: tuple[int, ...]) -> Iterator[Finding]:
    first, last = PYTHONS
    if not first <= version[:2] <= last:
        supported = f"{'.'.join(map(str, first))} to {'.'.join(map(str, last))}"
        yield Finding(
            f"this is Python {'.'.join(map(str, version))}; NeMo and what it builds on run on {supported}",
            f"make an environment with one of these: python{'.'.join(map(str, last))} -m venv FOLDER",
        )


def library_findings() -> Iterator[Finding]:
    """Missing libraries, and those that are there and cannot be loaded."""
    missing = [package for module, package in _REQUIRED.items() if importlib.util.find_spec(module) is None]
    broken = []
    for module, package in _IMPORTED.items():
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            missing.append(package)
            continue
        try:
            with quiet():
                importlib.import_module(module)
        # Libraries that do not fit each other fail with whatever they run into.
        except Exception as error:
            broken.append(_broken(module, package, error))
    if missing:
        yield Finding(f"{', '.join(missing)} cannot be found", f"conversion needs the extra: {EXTRA}")
    yield from broken


def memory_findings(weights: int, available: int) -> Iterator[Finding]:
    needed = memory_needed(weights)
    if available < needed:
        yield Finding(
            f"about {_gb(needed)} of memory are needed, {_gb(available)} are available",
            "end other programs, add swap, or convert on a larger machine and copy the bundle here",
        )


def disk_findings(needed: int, folder: Path, remedy: str) -> Iterator[Finding]:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        yield Finding(f"about {_gb(needed)} of disk are needed in {folder}, {_gb(free)} are free", remedy)


def memory_needed(weights: int) -> int:
    """Bytes at the peak of a conversion."""
    return round(_PER_WEIGHT * weights) + _BASE


def disk_needed(weights: int, precisions: Iterable[Precision]) -> int:
    """Bytes at the peak of a conversion, in the folder of models."""
    return round(_SCRATCH * weights * sum(SHARE[precision] for precision in precisions))


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: free memory and swap, and less where its control group is limited."""
    rows = (line.partition(":") for line in (proc / "meminfo").read_text().splitlines())
    table = {name: int(value.split()[0]) * 1024 for name, _, value in rows}
    available = table.get("MemAvailable", table["MemFree"]) + table.get("SwapFree", 0)
    try:
        [own] = [line[3:] for line in (proc / "self/cgroup").read_text().splitlines() if line[:3] == "0::"]
        group = cgroups / own.lstrip("/")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        # Files that were read count as used and are given up when memory is needed.
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = int(statistics.get("inactive_file", 0))
        return min(available, limit - used + cached)
    except (OSError, ValueError):
        # No limit ("max"), or no control group that says so.
        return available


def _broken(module: str, package: str, error: Exception) -> Finding:
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    try:
        installed = f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:
        installed = package
    system = f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
    return Finding(
        f"{module} cannot be loaded by {system} ({first})",
        f"repair it with: {os.fspath(sys.executable)} -m pip install --force-reinstall --no-deps {installed}",
    )


def _raise_for(findings: list[Finding]) -> None:
    if findings:
        raise PreflightFailed(findings)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
