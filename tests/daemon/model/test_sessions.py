from __future__ import annotations

import os

import pytest

from parakeetd.errors import DeviceError
from parakeetd.model.sessions import Device, cuda_reason, open_session, physical_cores, probe

MISSING_LIBRARY = (
    "\x1b[1;31m2026-11-22 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] FAIL : Failed to load "
    "library /x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: "
    "No such file or directory\x1b[m"
)
NO_DEVICE = (
    "[E:onnxruntime] CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=x ; file=y"
)


def reason_against(device: Device) -> str | None:
    try:
        probe(device)
    except DeviceError as error:
        return error.reason
    return None


def test_the_cpu_works() -> None:
    assert reason_against("cpu") is None


def test_cuda_works_or_says_why_it_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    reason = reason_against("cuda")
    assert reason is None or (len(reason) > 10 and "\n" not in reason)
    # Whatever the runtime wrote became the reason; the terminal stays clean.
    assert capfd.readouterr() == ("", "")


def test_a_missing_library_is_named_with_its_remedy() -> None:
    reason = cuda_reason(MISSING_LIBRARY)
    assert reason.startswith("libcublasLt.so.13 is missing")
    assert "parakeetd[cuda]" in reason


def test_a_missing_gpu_is_told_as_cuda_tells_it() -> None:
    assert cuda_reason(NO_DEVICE).startswith("CUDA failure 100: no CUDA-capable device is detected; check")


def test_a_silent_fallback_to_the_cpu_is_still_an_error() -> None:
    assert "gave no reason" in cuda_reason("")


def test_a_graph_that_is_none_is_an_error_of_its_device() -> None:
    with pytest.raises(DeviceError, match="device cpu: cannot open a graph in memory"):
        open_session(b"not a graph", "cpu")


def test_physical_cores_are_at_most_the_allowed_ones() -> None:
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))
