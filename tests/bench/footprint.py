"""Measure what the daemon costs a machine: time until it is ready, memory, and how quickly the commands answer.

    python tests/bench/footprint.py [--model NAME] [--models DIR] [--precision P] [--runs N] [--json FILE]

Starts `parakeetd serve` several times on the CPU, each in an empty home on a free port, and streams the shipped clips
to it. With files in the page cache: one start more comes before those that count.

Exit code 1 when a bound is missed. Embedded model: the median start takes less than 2 s, and a daemon holds less than
300 MB. An installed one: less than 3 s until ready, and 1.3 x its weights and 300 MB, after the clips too; its weights
are the encoder's and the decoder's in the precision that serves. What it makes of the clips is not looked at.
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

from parakeetd.config import Paths
from parakeetd.model.bundle import EMBEDDED, PRECISIONS, Bundle, find_bundle
from parakeetd.rpc.client import stream_file

MAX_READY_SECONDS = 2.0
"""Of the embedded model."""
MAX_RSS_MB = 300.0
"""Likewise; and of every model, beside its weights."""
MAX_READY_SECONDS_INSTALLED = 3.0
MAX_WEIGHTS = 1.3
"""Of a model's weights in memory, times their size on disk."""
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


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to serve."""

    bundle: Bundle
    precision: str
    """`auto`, or one of the bundle's."""

    @property
    def embedded(self) -> bool:
        return self.bundle.path == EMBEDDED

    @property
    def weights_mb(self) -> float:
        """Encoder and decoder in the precision that serves. The graphs of the decoder share one set of weights, NeMo's
        combined graph has them again: the smaller set counts."""
        wanted = next((item for item in PRECISIONS if item == self.precision), None)
        precision = self.bundle.precision_for("cpu", wanted)
        suffix = "" if precision == "fp32" else f".{precision}"
        sizes = {name: entry.bytes for name, entry in self.bundle.manifest.files.items()}

        def size(graph: str) -> int:
            return sum(sizes.get(f"{graph}{suffix}.onnx{end}", 0) for end in ("", ".data"))

        decoders = [found for graph in ("decoder-model", "decoder_joint-model") if (found := size(graph))]
        return (size("encoder-model") + min(decoders, default=0)) / 1e6

    @property
    def max_ready_seconds(self) -> float:
        return MAX_READY_SECONDS if self.embedded else MAX_READY_SECONDS_INSTALLED

    @property
    def max_rss_mb(self) -> float:
        return MAX_RSS_MB + (0.0 if self.embedded else MAX_WEIGHTS * self.weights_mb)


def measure_daemon(home: Path, subject: Subject) -> Run:
    """Start a daemon, let it recognise, end it."""
    config = home / "footprint.toml"
    config.write_text(f'[device]\nchoice = "cpu"\nprecision = "{subject.precision}"\n', encoding="utf-8")
    place = ["--config", str(config), "--models", str(subject.bundle.path.parent)]
    begun = time.perf_counter()
    with subprocess.Popen(
        [*PARAKEETD, "serve", "--model", subject.bundle.name, *place, "--listen", "127.0.0.1:0"],
        env=environment(home),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            address = _address_when_ready(process)
            ready_seconds = time.perf_counter() - begun
            at_ready = memory(process.pid)
            asyncio.run(_recognise(address, must=subject.embedded))
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


async def _recognise(address: str, *, must: bool) -> None:
    """Stream the shipped clips.

    Args:
        must: they have text; weights of a model may be random.
    """
    clips = sorted((EMBEDDED.parent / "clips").glob("*.flac"))
    for clip in islice(cycle(clips), CLIPS):
        async with aclosing(stream_file(address, clip, real_time=False)) as lines:
            if not [line async for line in lines if line.is_final] and must:
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
    parser.add_argument("--model", default=EMBEDDED.name, metavar="NAME", help="default: the embedded one")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of models")
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto")
    options = parser.parse_args()
    folder_of_models = options.models or Paths.from_environment().models
    subject = Subject(find_bundle(options.model, folder_of_models), options.precision)
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
        _, *runs = [measure_daemon(home, subject) for _ in range(options.runs + 1)]

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

    print(f"parakeetd serve with {subject.bundle.name}, median of {len(runs)} runs")
    if not subject.embedded:
        print(f"{'  its weights on disk':28}{subject.weights_mb:8.0f} MB")
    ready = row("  until ready", "s", lambda run: run.ready_seconds, 2)
    row("  RSS at ready", "MB", lambda run: run.at_ready.rss)
    row("  peak at ready", "MB", lambda run: run.at_ready.peak)
    row(f"  RSS after {CLIPS} clips", "MB", lambda run: run.after_clips.rss)
    row(f"  peak after {CLIPS} clips", "MB", lambda run: run.after_clips.peak)
    row("  of that its own", "MB", lambda run: run.after_clips.anonymous)
    row("  threads", "", lambda run: run.after_clips.threads)
    if options.json:
        report = {"machine": where, "model": subject.bundle.name, "weights_mb": subject.weights_mb}
        report |= {"seconds": seconds, "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    most = max(max(run.at_ready.rss, run.after_clips.rss) for run in runs)
    failed = False
    if ready >= subject.max_ready_seconds:
        print(f"TOO SLOW: ready after {ready:.2f} s, the limit is {subject.max_ready_seconds:g} s")
        failed = True
    if most >= subject.max_rss_mb:
        print(f"TOO LARGE: {most:.0f} MB, the limit is {subject.max_rss_mb:.0f} MB")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
