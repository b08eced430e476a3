"""What the benchmarks share: percentiles, what a process costs, where results go."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests/bench/results"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` of them do not exceed (nearest rank, no interpolation).

    Raises:
        ValueError: there are no values, or `percent` is not above 0 and at most 100.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no percentile {percent} of {len(values)} values")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def cpu_seconds(pid: int) -> float:
    """Processor time that all threads of a process have used, in user and kernel mode, to the nanosecond.

    Linux has a clock for each process, whose number is made of the process's (`clock_getcpuclockid`); `/proc` counts
    in steps of 10 ms only.
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB of 10^6 bytes, pages mapped from files included."""
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/{pid}/status has no VmRSS")
    return int(found[1]) * 1024 / 1e6


def available_mb() -> float:
    """Memory that programs can still get, in MB of 10^6 bytes."""
    found = re.search(r"^MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else math.inf


def machine() -> dict[str, str]:
    """What figures depend on; `load` is that of the last minute before the benchmark began."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
    }


def results_file(kind: str, where: Mapping[str, str], today: datetime.date, suffix: str = "json") -> Path:
    """`results/DATE-MACHINE-KIND.json`, with the processor's name as letters, digits and hyphens."""
    name = re.sub(r"\(r\)|\(tm\)|\bcpu\b|\bprocessor\b|@.*", " ", where["processor"].lower())
    slug = "-".join(re.findall(r"[a-z0-9.]+", name))
    return RESULTS / f"{today:%Y-%m-%d}-{slug}-{where['cores']}-cores-{kind}.{suffix}"


def write_results(file: Path, results: Mapping[str, Any]) -> str:
    """Write a dated file of results; the line that says where."""
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    return f"written to {shown}"
