"""What a machine is taken to be."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime
import pytest

from parakeetd import __version__
from parakeetd.errors import BundleError
from parakeetd.measure.driver import Driver
from parakeetd.measure.machine import (
    available_memory,
    hardware,
    identity_of,
    processor,
    resident_memory,
    resident_with_children,
)
from parakeetd.model.bundle import EMBEDDED, Bundle, sha256
from parakeetd.model.opening import threads_for


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """The kernel's files on a machine with 15.6 GiB."""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 9654 96-Core Processor \n")
    (tmp_path / "meminfo").write_text("MemTotal:       16363520 kB\nMemAvailable:    8000000 kB\n")
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "status").write_text("Name:\tparakeetd\nVmHWM:\t  400000 kB\nVmRSS:\t  123456 kB\n")
    return tmp_path


def test_a_machine_and_a_bundle_are_read(proc: Path) -> None:
    found = identity_of(Bundle.read(EMBEDDED), ["cpu"], threads=3, proc=proc)
    assert found.processor == "AMD EPYC 9654 96-Core Processor"
    assert found.memory_gib == 16
    assert found.cores <= len(os.sched_getaffinity(0))
    assert (found.onnxruntime, found.parakeetd) == (onnxruntime.__version__, __version__)
    assert found.bundle == "demo"
    assert found.manifest_sha256 == sha256(EMBEDDED / "manifest.json")
    [cpu] = found.devices
    assert (cpu.device, cpu.threads, cpu.hardware) == ("cpu", 3, "")


def test_threads_are_those_that_suit_the_model_when_nothing_else_is_said(proc: Path) -> None:
    found = identity_of(Bundle.read(EMBEDDED), ["cpu"], proc=proc)
    assert found.devices[0].threads == threads_for(Bundle.read(EMBEDDED).manifest.architecture)


def test_a_precision_that_the_bundle_does_not_have_is_refused(proc: Path) -> None:
    bundle = Bundle.read(EMBEDDED)
    absent = next(name for name in ("fp16", "int8") if name not in bundle.manifest.precisions)
    with pytest.raises(BundleError, match=f"no {absent}"):
        identity_of(bundle, ["cpu"], precision=absent, proc=proc)  # type: ignore[arg-type]


def test_a_gpu_is_its_name_and_its_driver() -> None:
    assert hardware(Driver((13, 1), ("H200", "T4"))) == "H200, driver for CUDA 13.1"
    assert hardware(None) == "unknown"
    assert hardware(Driver((13, 1), (), "no device")) == "unknown"


def test_memory_is_what_the_kernel_says(proc: Path) -> None:
    assert available_memory(proc) == 8_000_000 * 1024
    assert resident_memory(42, proc) == 123_456 * 1024


def test_a_kernel_that_tells_nothing_is_no_failure(tmp_path: Path) -> None:
    assert processor(tmp_path) == os.uname().machine
    assert available_memory(tmp_path) == 0
    assert resident_memory("self", tmp_path) == 0


def test_this_process_occupies_memory() -> None:
    assert resident_memory() > 1_000_000
    assert available_memory() > 1_000_000


def test_what_a_process_has_started_counts_with_it(proc: Path) -> None:
    for pid, kilobytes, children in ((7, 100, ("", "8 9 ")), (8, 20, ("",)), (9, 3, ("",))):
        for thread, text in enumerate(children):
            (proc / f"{pid}/task/{pid + thread}").mkdir(parents=True)
            (proc / f"{pid}/task/{pid + thread}/children").write_text(text)
        (proc / f"{pid}/status").write_text(f"VmRSS:\t {kilobytes} kB\n")
    assert resident_with_children(7, proc) == 123 * 1024
    assert resident_with_children(8, proc) == 20 * 1024
