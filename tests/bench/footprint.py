"""Measure what the daemon costs a machine: time until it is ready, memory, and how quickly the commands answer.

    python tests/bench/footprint.py [--runs N] [--json FILE]

Starts `parakeetd serve` with the embedded model several times, each in an empty home on a free port, and streams the
shipped clips to it. Exit code 1 when the median start takes 2 s or more, or when a daemon holds 300 MB or more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import cycle, islice
from pathlib import Path

from parakeetd.model.bundle import EMBEDDED
from parakeetd.rpc.client import stream_file

MAX_READY_SECONDS = 2.0
MAX_RSS_MB = 300.0
CLIPS = 10
"""Recognised before memory is read the second time."""

PARAKEETD = [sys.executable, "-m", "parakeetd.cli"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MB of 10^6 bytes, as the kernel counts it."""

    rss: float
    peak: float
    anonymous: float
    """What the process itself has written; the rest is mapped from files and shared."""
    threads: int


@dataclass(frozen=True, slots=True)
class Run:
    ready_seconds: float
    """From the start of the process to its line `ready`."""
    at_ready: Memory
    after_clips: Memory


def measure_daemon(home: Path) -> Run:
    """Start a daemon, let it recognise, end it."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [*PARAKEETD, "serve", "--model", EMBEDDED.name, "--listen", "127.0.0.1:0"],
        env=environment(home),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            address = _address_when_ready(process)
            ready_seconds = time.perf_counter() - begun
            at_ready = memory(process.pid)
            asyncio.run(_recognise(address))
            after_clips = memory(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
    if process.returncode:
        raise SystemExit(f"the daemon ended with exit code {process.returncode}")
    return Run(ready_seconds, at_ready, after_clips)


def _address_when_ready(process: subprocess.Popen[str]) -> str:
    said: list[str] = []
    for line in process.stderr or ():
        said.append(line.strip())
        if said[-1] == "ready":
            return next(
                text.removeprefix("listening on ") for text in said if text.startswith("listening on ")
            )
    raise SystemExit("the daemon did not start: " + " | ".join(said))


async def _recognise(address: str) -> None:
    clips = sorted((EMBEDDED.parent / "clips").glob("*.flac"))
    for clip in islice(cycle(clips), CLIPS):
        async with aclosing(stream_file(address, clip, real_time=False)) as lines:
            if not [line async for line in lines if line.is_final]:
                raise SystemExit(f"the daemon recognised nothing in {clip}")


def memory(pid: int) -> Memory:
    status = Path(f"/proc/{pid}/status").read_text()

    def number(name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
        if found is None:
            raise SystemExit(f"/proc/{pid}/status has no {name}")
        return int(found[1])

    return Memory(
        rss=number("VmRSS") * 1024 / 1e6,
        peak=number("VmHWM") * 1024 / 1e6,
        anonymous=number("RssAnon") * 1024 / 1e6,
        threads=number("Threads"),
    )


def measure_command(command: Sequence[str], home: Path, runs: int) -> float:
    """Median seconds of a command from start to end."""
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        subprocess.run(command, env=environment(home), stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def environment(home: Path) -> dict[str, str]:
    """That of a user who has configured and installed nothing."""
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ} | {
        "HOME": str(home)
    }


def machine() -> dict[str, str]:
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    runtime = next(
        f"{name} {metadata.version(name)}"
        for name in ("onnxruntime-gpu", "onnxruntime")
        if any(metadata.distributions(name=name))
    )
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "software": f"Linux {platform.release()}, Python {platform.python_version()}, {runtime}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="how often each thing is measured (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory(prefix="parakeetd-footprint-") as folder:
        home = Path(folder)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import parakeetd": [sys.executable, "-c", "import parakeetd"],
            "import parakeetd, load": [sys.executable, "-c", "import parakeetd; parakeetd.load('demo')"],
            "parakeetd --help": [*PARAKEETD, "--help"],
        }
        seconds = {name: measure_command(command, home, options.runs) for name, command in commands.items()}
        runs = [measure_daemon(home) for _ in range(options.runs)]

    for name, value in where.items():
        print(f"{name + ':':14}{value}")
    for name, taken in seconds.items():
        print(f"{name:28}{taken:8.2f} s")

    def row(name: str, unit: str, of: Callable[[Run], float], digits: int = 0) -> float:
        values = [of(run) for run in runs]
        middle = statistics.median(values)
        spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
        print(f"{name:28}{middle:8.{digits}f} {unit}  ({spread})")
        return middle

    print(f"parakeetd serve, median of {len(runs)} runs")
    ready = row("  until ready", "s", lambda run: run.ready_seconds, 2)
    row("  RSS at ready", "MB", lambda run: run.at_ready.rss)
    row("  peak at ready", "MB", lambda run: run.at_ready.peak)
    row(f"  RSS after {CLIPS} clips", "MB", lambda run: run.after_clips.rss)
    row(f"  peak after {CLIPS} clips", "MB", lambda run: run.after_clips.peak)
    row("  of that its own", "MB", lambda run: run.after_clips.anonymous)
    row("  threads", "", lambda run: run.after_clips.threads)
    if options.json:
        report = {"machine": where, "seconds": seconds, "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    most = max(max(run.at_ready.rss, run.after_clips.rss) for run in runs)
    failed = False
    if ready >= MAX_READY_SECONDS:
        print(f"TOO SLOW: ready after {ready:.2f} s, the limit is {MAX_READY_SECONDS:g} s")
        failed = True
    if most >= MAX_RSS_MB:
        print(f"TOO LARGE: {most:.0f} MB, the limit is {MAX_RSS_MB:g} MB")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
