"""Convert a model of full size with random weights, and print what each step takes.

    python tests/bench/convert_full.py 110m|0.6b|1.1b [--folder DIR]

Needs the convert extra. Exit code 1 when the peak memory is above 2.5 x the float32 weights + 2 GB, or the scratch
disk above 1.2 x the size of the bundle.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from parakeetd.model.bundle import Bundle
from parakeetd.model.sessions import physical_cores
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.toolchain import load_toolchain, quiet
from random_nemo import FULL_SIZE, write_random_nemo

SAMPLE_SECONDS = 0.05

ROW = "{:52} {:>9} {:>10} {:>10}"


@dataclass
class Measured:
    title: str
    seconds: float
    peak_bytes: int
    """Largest resident memory of the process in the step, mapped weights included."""
    disk_bytes: int
    """Largest size of the folder of models in the step."""


class Meter:
    """Watches memory and disk in a thread while steps run."""

    def __init__(self, folder: Path) -> None:
        self.steps: list[Measured] = []
        self._folder = folder
        self._ended = threading.Event()
        self._memory = self._disk = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._memory = self._disk = 0
        begun = time.monotonic()
        yield
        self._look()
        step = Measured(title, time.monotonic() - begun, self._memory, self._disk)
        self.steps.append(step)
        memory, disk = f"{step.peak_bytes / 1e9:.2f} GB", f"{step.disk_bytes / 1e9:.2f} GB"
        print(ROW.format(title, f"{step.seconds:.1f} s", memory, disk), flush=True)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self._memory = max(self._memory, _resident_bytes())
        self._disk = max(self._disk, folder_bytes(self._folder))


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def folder_bytes(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def build(folder: Path, size: str) -> Path:
    load_toolchain()
    with quiet():
        return write_random_nemo(folder, FULL_SIZE[size])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=list(FULL_SIZE))
    parser.add_argument(
        "--folder", type=Path, help="where to work, instead of the folder for temporary files"
    )
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="parakeetd-convert-full-", dir=arguments.folder))
    try:
        # In a process of its own: what building a model leaves behind is not the conversion's memory.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as builder:
            file = builder.submit(build, work, arguments.size).result()
        load_toolchain()
        machine = f"{platform.machine()}, {physical_cores()} cores"
        print(f"{arguments.size}: {file.stat().st_size / 1e9:.2f} GB; {machine}")
        print(ROW.format("step", "time", "memory", "disk"))
        models = work / "models"
        models.mkdir()
        meter = Meter(models)
        begun = time.monotonic()
        path = convert(Job(file, "full", models, ("und",)), meter.step)
        seconds = time.monotonic() - begun
        meter.close()
        return _judge(Bundle.read(path), meter, seconds)
    finally:
        shutil.rmtree(work)


def _judge(bundle: Bundle, meter: Meter, seconds: float) -> int:
    files = bundle.manifest.files
    weights = sum(entry.bytes for name, entry in files.items() if name.removesuffix(".data") in _FLOAT32)
    peak, allowed = max(step.peak_bytes for step in meter.steps), 2.5 * weights + 2e9
    disk, size = max(step.disk_bytes for step in meter.steps), folder_bytes(bundle.path)
    for precision in bundle.manifest.precisions[1:]:
        measured = bundle.manifest.verification[precision]
        print(f"{precision}: {measured['bytes'] / 1e9:.2f} GB, encoder error {measured['encoder_error']:.4f}")
    print(f"in all {seconds:.0f} s; float32 weights {weights / 1e9:.2f} GB, bundle {size / 1e9:.2f} GB")
    print(f"peak memory {peak / 1e9:.2f} GB, allowed {allowed / 1e9:.2f} GB")
    print(f"disk {disk / 1e9:.2f} GB while converting, {disk / size:.2f} x the bundle, allowed 1.2 x")
    return int(peak > allowed or disk > 1.2 * size)


_FLOAT32 = ("encoder-model.onnx", "decoder_joint-model.onnx", "ctc-model.onnx")


if __name__ == "__main__":
    sys.exit(main())
