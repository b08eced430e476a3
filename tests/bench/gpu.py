"""Check and time a model on the GPU against the CPU, and write what came out to a dated file.

    python tests/bench/gpu.py [--model NAME] [--models DIR] [--devices cuda,cpu] [--output FILE.md]

For each device and precision of the bundle: the texts of the shipped clips against float32 on the CPU, the time of
one segment of 0.5 to 20 s and of a batch of eight, warm, medians; the GPU's memory. Exit code 1 when a device that
was asked for cannot be opened, or its float32 texts differ from the CPU's.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.config import Paths
from parakeetd.errors import DeviceError
from parakeetd.model.bundle import EMBEDDED, Bundle, Precision, find_bundle
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, physical_cores

LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 20.0)
"""Seconds of a segment."""
BATCH = 8
ROUNDS = 7
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Engine:
    device: Device
    precision: Precision
    recognizer: Recognizer
    open_seconds: float


def open_engines(bundle: Bundle, devices: list[Device]) -> list[Engine]:
    """Every precision of the bundle on every device; int8 only on the CPU, float16 only on the GPU."""
    engines = []
    for device in devices:
        for precision in bundle.manifest.precisions:
            if (device, precision) not in (("cpu", "fp16"), ("cuda", "int8")):
                begun = time.monotonic()
                recognizer = Recognizer.open(bundle, device=device, precision=precision)
                engines.append(Engine(device, precision, recognizer, time.monotonic() - begun))
    return engines


def clips() -> list[tuple[str, Samples]]:
    folder = EMBEDDED.parent / "clips"
    rows = [json.loads(line) for line in (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["file"], read_audio(folder / row["file"])) for row in rows]


def texts(recognizer: Recognizer) -> list[str]:
    return [recognizer.recognize([samples])[0].text for _, samples in clips()]


def median_seconds(engine: Engine, seconds: float, batch: int) -> float:
    """Time of a batch, after one of the same shape."""
    speech = np.concatenate([samples for _, samples in clips()])
    piece = np.resize(speech, round(seconds * SAMPLE_RATE)).astype(np.float32)
    engine.recognizer.recognize([piece] * batch)
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        engine.recognizer.recognize([piece] * batch)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def machine() -> Iterator[str]:
    yield f"{platform.machine()}, {physical_cores()} physical cores, Python {platform.python_version()}"
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.used,memory.total",
        "--format=csv,noheader",
    ]
    try:
        yield subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        yield "no GPU that nvidia-smi knows"


def report(bundle: Bundle, engines: list[Engine], expected: list[str]) -> Iterator[str]:
    yield f"# {bundle.name} on {', '.join(dict.fromkeys(engine.device for engine in engines))}"
    yield ""
    yield from (f"- {line}" for line in machine())
    yield f"- source {bundle.manifest.source.file}, {bundle.manifest.architecture.layers} layers"
    yield ""
    head = [f"{seconds:g} s" for seconds in LENGTHS] + [f"{BATCH} x 8 s"]
    yield f"| engine | open | texts = CPU fp32 | {' | '.join(head)} |"
    yield f"|---|---|---|{'---|' * len(head)}"
    for engine in engines:
        times = [median_seconds(engine, seconds, 1) for seconds in LENGTHS]
        times.append(median_seconds(engine, 8.0, BATCH))
        cells = [f"{value * 1e3:.1f} ms" for value in times]
        yield (
            f"| {engine.device} {engine.precision} | {engine.open_seconds:.1f} s "
            f"| {equal(engine, expected)}/{len(expected)} | {' | '.join(cells)} |"
        )
    yield ""
    yield from (f"- afterwards: {line}" for line in list(machine())[1:])


def equal(engine: Engine, expected: list[str]) -> int:
    """Clips on which the engine says what is expected."""
    return sum(ours == theirs for ours, theirs in zip(texts(engine.recognizer), expected, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=EMBEDDED.name)
    parser.add_argument("--models", type=Path, default=Paths.from_environment().models)
    parser.add_argument("--devices", default="cuda,cpu")
    parser.add_argument("--output", type=Path, help="default: tests/bench/results/DATE-MODEL.md")
    arguments = parser.parse_args()
    bundle = find_bundle(arguments.model, arguments.models)
    devices: list[Device] = ["cuda" if name == "cuda" else "cpu" for name in arguments.devices.split(",")]
    try:
        engines = open_engines(bundle, devices)
        expected = texts(Recognizer.open(bundle, device="cpu", precision="fp32"))
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 1
    lines = []
    for line in report(bundle, engines, expected):
        print(line, flush=True)
        lines.append(line)
    output = arguments.output or RESULTS / f"{datetime.date.today():%Y-%m-%d}-{bundle.name}.md"
    output.parent.mkdir(exist_ok=True)
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written to {output}")
    exact = [engine for engine in engines if (engine.device, engine.precision) == ("cuda", "fp32")]
    return int(any(equal(engine, expected) < len(expected) for engine in exact))


if __name__ == "__main__":
    sys.exit(main())
