from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from parakeetd.errors import DeviceError
from parakeetd.model import sessions
from parakeetd.model.bundle import EMBEDDED
from parakeetd.model.sessions import Device, cuda_reason, on_host, open_session, physical_cores, probe

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


def test_what_a_graph_leaves_on_the_device_is_the_next_ones_input() -> None:
    encoded = np.random.default_rng(0).standard_normal((2, 160, 9)).astype(np.float32)
    projection = open_session(EMBEDDED / "projection-model.onnx", "cpu", threads=1)
    joint = open_session(EMBEDDED / "joint-model.onnx", "cpu", threads=1)
    prediction = np.zeros((2, projection.run({"encoder_outputs": encoded})[0].shape[2]), np.float32)
    [frames] = projection.run_on_device({"encoder_outputs": encoded}, ["frames"])
    assert frames.shape()[:2] == [2, 9]
    [logits] = joint.run_on_device({"frames": frames, "prediction": prediction}, ["logits"], shrink=True)
    [expected] = joint.run({"frames": on_host(frames), "prediction": prediction})
    np.testing.assert_array_equal(on_host(logits), expected)


def test_an_array_that_lies_otherwise_in_memory_is_bound_by_its_values() -> None:
    projection = open_session(EMBEDDED / "projection-model.onnx", "cpu", threads=1)
    encoded = np.random.default_rng(0).standard_normal((1, 9, 160)).astype(np.float32).transpose(0, 2, 1)
    [frames] = projection.run_on_device({"encoder_outputs": encoded}, ["frames"])
    [expected] = projection.run({"encoder_outputs": encoded.copy()})
    np.testing.assert_allclose(frames.numpy(), expected, atol=1e-5)


class Meeting:
    """An ONNX Runtime session whose run waits until as many runs as there should be have met."""

    def __init__(self, meeting: threading.Barrier) -> None:
        self._meeting = meeting
        self.runs = 0

    def get_outputs(self) -> list[Any]:
        return []

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[int]:
        self.runs += 1
        self._meeting.wait(30)
        return [id(self)]


def test_runs_at_the_same_time_have_a_session_each_and_share_one_when_there_are_more() -> None:
    meeting = threading.Barrier(3)
    one, other = Meeting(meeting), Meeting(meeting)
    session = sessions.Session(one, "cpu", other)
    with ThreadPoolExecutor(3) as threads:
        used = [run.result()[0] for run in [threads.submit(session.run, {}) for _ in range(3)]]
    assert sorted((one.runs, other.runs)) == [1, 2]
    assert set(used) == {id(one), id(other)}


def test_runs_one_after_the_other_have_the_same_session_even_when_one_fails() -> None:
    one, other = Meeting(threading.Barrier(1)), Meeting(threading.Barrier(1))
    session = sessions.Session(one, "cpu", other)
    for _ in range(3):
        session.run({})
    broken = threading.Barrier(1)
    broken.abort()
    one._meeting = broken
    with pytest.raises(threading.BrokenBarrierError):
        session.run({})
    one._meeting = threading.Barrier(1)
    session.run({})
    assert (one.runs, other.runs) == (5, 0)


def test_a_graph_that_is_opened_for_several_runs_computes_the_same_in_each() -> None:
    encoded = np.random.default_rng(0).standard_normal((2, 160, 40)).astype(np.float32)
    [expected] = open_session(EMBEDDED / "projection-model.onnx", "cpu", threads=1).run(
        {"encoder_outputs": encoded}
    )
    projection = open_session(EMBEDDED / "projection-model.onnx", "cpu", threads=1, at_once=2)
    with ThreadPoolExecutor(4) as threads:
        for [found] in threads.map(lambda _: projection.run({"encoder_outputs": encoded}), range(50)):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("device", "arena"), [("cpu", "cpu:0"), ("cuda", "gpu:0")])
def test_only_an_unusual_run_gives_memory_back(device: Device, arena: str) -> None:
    options = sessions._run_options(device, shrink=True)
    assert options is not None
    assert options.get_run_config_entry("memory.enable_memory_arena_shrinkage") == arena
    assert sessions._run_options(device, shrink=False) is None
