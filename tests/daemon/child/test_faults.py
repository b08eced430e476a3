"""A router whose GPU is a child process: whatever befalls that, each segment is answered."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stand_in_child as stand_in
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.child import ChildHome, ModelToOpen
from parakeetd.errors import BundleError, DeviceError
from parakeetd.model.sessions import Device
from parakeetd.routing import DeviceReport, Engine, Routed, Router
from parakeetd.routing.fake import FakeEngine

WAIT_SECONDS = 120.0
ANY_MODEL = ModelToOpen(Path("/nowhere"), "", "cuda", 1, None)


def prefers_gpu(device: Device, seconds: float, count: int) -> float:
    return 0.01 if device == "cuda" else 5.0


@contextmanager
def routing(
    kind: str = "fake",
    *,
    retry_seconds: float = 1e9,
    idle_seconds: float = 0.0,
    cpu: Callable[[], Engine] = FakeEngine,
) -> Iterator[Router]:
    router = Router(
        {"cpu": cpu, "cuda": ChildHome(ANY_MODEL, stand_in.command(kind))},
        estimate=prefers_gpu,
        retry_seconds=retry_seconds,
        idle_seconds={"cuda": idle_seconds} if idle_seconds else {},
    )
    router.open("cpu")
    try:
        yield router
    finally:
        assert router.close(WAIT_SECONDS)
        assert gpu(router).pid is None


def gpu(router: Router) -> DeviceReport:
    return next(report for report in router.devices() if report.device == "cuda")


def speech(seconds: float = 1.0, first: float = 0.1) -> Samples:
    samples = np.full(round(seconds * SAMPLE_RATE), 0.1, np.float32)
    samples[0] = first
    return samples


def answer(future: Future[Routed]) -> Routed:
    return future.result(WAIT_SECONDS)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_that_opens_wakes_the_child_and_the_cpu_serves_meanwhile() -> None:
    with routing("slow") as router:
        router.wake()
        until(lambda: gpu(router).engine == "opening")
        assert answer(router.submit(speech())).device == "cpu"
        assert gpu(router).engine == "opening"
        # It would go on opening for an hour.
        assert router.suspend("cuda", 0.0)
    with routing() as router:
        router.wake()
        until(lambda: gpu(router).engine == "open")
        report = gpu(router)
        assert report.pid is not None
        assert report.pid != os.getpid()
        assert (report.memory_bytes or 0) > 0
        assert answer(router.submit(speech())).device == "cuda"


def test_a_child_without_work_leaves_with_all_its_memory_and_comes_back() -> None:
    with routing(idle_seconds=0.3) as router:
        router.open("cuda")
        pid = gpu(router).pid
        assert pid is not None
        assert answer(router.submit(speech())).device == "cuda"
        until(lambda: gpu(router).engine == "closed")
        assert not Path(f"/proc/{pid}").exists()
        assert gpu(router).memory_bytes == 0
        assert answer(router.submit(speech())).device in ("cpu", "cuda")
        router.open("cuda")
        report = gpu(router)
        assert report.pid not in (None, pid)
        # To leave is no failure.
        assert (report.openings >= 2, report.failures, report.healthy) == (True, 0, True)


def test_a_child_that_is_killed_hands_its_segment_to_the_cpu_and_is_replaced() -> None:
    with routing(retry_seconds=0.0) as router:
        router.open("cuda")
        pid = gpu(router).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        routed = answer(router.submit(speech()))
        assert (routed.device, routed.transcript.text) == ("cpu", "1000ms")
        assert gpu(router).failures == 1
        router.open("cuda")
        assert answer(router.submit(speech())).device == "cuda"
        assert gpu(router).pid not in (None, pid)


def test_a_child_that_died_with_nothing_to_do_is_replaced_when_a_stream_opens() -> None:
    with routing(retry_seconds=0.0) as router:
        router.open("cuda")
        pid = gpu(router).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: gpu(router).pid is None)
        router.wake()
        until(lambda: gpu(router).pid not in (None, pid))
        until(lambda: gpu(router).engine == "open")
        assert gpu(router).failures == 1


def test_a_child_that_died_with_nothing_to_do_is_not_waited_for_before_sleep() -> None:
    with routing() as router:
        router.open("cuda")
        pid = gpu(router).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: gpu(router).pid is None)
        router.wake()
        assert router.suspend("cuda", 0.0)


def test_a_child_that_dies_in_the_middle_of_a_batch_takes_nobody_with_it() -> None:
    with routing() as router:
        router.open("cuda")
        first = router.submit(speech(0.5, stand_in.DIES))
        others = [router.submit(speech(2 + number / 100)) for number in range(6)]
        assert answer(first).device == "cpu"
        assert [answer(future).transcript.text for future in others] == [
            f"{2000 + 10 * number}ms" for number in range(6)
        ]
        assert not gpu(router).healthy
        assert "SIGABRT" in str(gpu(router).failure)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_child_that_hangs_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch, stopped: bool) -> None:
    monkeypatch.setattr("parakeetd.routing.engine_record.HUNG_SECONDS", 0.3)
    with routing(retry_seconds=0.0) as router:
        router.open("cuda")
        pid = gpu(router).pid
        assert pid is not None
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        routed = answer(router.submit(speech(1.0, stand_in.HANGS)))
        assert (routed.device, routed.transcript.text) == ("cpu", "1000ms")
        until(lambda: not Path(f"/proc/{pid}").exists())
        router.open("cuda")
        assert gpu(router).failures == 1
        monkeypatch.setattr("parakeetd.routing.engine_record.HUNG_SECONDS", 10.0)
        assert answer(router.submit(speech())).device == "cuda"


def test_a_batch_without_memory_is_computed_in_smaller_ones_by_the_same_child() -> None:
    router = Router({"cuda": ChildHome(ANY_MODEL, stand_in.command("fake"))}, estimate=prefers_gpu)
    router.open("cuda")
    pid = gpu(router).pid
    answers = [
        answer(future) for future in [router.submit(speech(1.0, stand_in.OUT_OF_MEMORY)) for _ in range(16)]
    ]
    assert [routed.transcript.text for routed in answers] == ["1000ms"] * 16
    assert max(routed.batch for routed in answers) <= stand_in.MOST_SAMPLES // SAMPLE_RATE
    assert (gpu(router).pid, gpu(router).failures) == (pid, 0)
    assert router.close(WAIT_SECONDS)


def test_a_single_segment_without_memory_goes_to_the_cpu_and_the_child_is_replaced() -> None:
    with routing(retry_seconds=0.0) as router:
        router.open("cuda")
        pid = gpu(router).pid
        routed = answer(router.submit(speech(4.0, stand_in.OUT_OF_MEMORY)))
        assert (routed.device, routed.transcript.text) == ("cpu", "4000ms")
        router.open("cuda")
        assert gpu(router).pid not in (None, pid)


def test_who_asks_for_a_child_that_does_not_open_is_told_why() -> None:
    with routing("broken") as router:
        with pytest.raises(BundleError, match="SHA-256"):
            router.open("cuda")
        assert answer(router.submit(speech())).device == "cpu"
        assert gpu(router).failures == 1
        assert gpu(router).pid is None


def test_before_sleep_the_child_leaves_and_afterwards_it_comes_back() -> None:
    with routing() as router:
        router.open("cuda")
        assert router.suspend("cuda", WAIT_SECONDS)
        report = gpu(router)
        assert (report.engine, report.pid, report.memory_bytes, report.failures) == ("suspended", None, 0, 0)
        assert answer(router.submit(speech())).device == "cpu"
        with pytest.raises(DeviceError, match="suspended"):
            router.open("cuda")
        router.wake()
        assert gpu(router).pid is None
        router.resume("cuda")
        router.open("cuda")
        assert answer(router.submit(speech())).device == "cuda"


def test_a_batch_that_takes_too_long_before_sleep_is_computed_by_the_cpu() -> None:
    with routing() as router:
        router.open("cuda")
        hanging = router.submit(speech(1.0, stand_in.HANGS))
        until(lambda: gpu(router).running == 1)
        assert router.suspend("cuda", 0.1)
        assert gpu(router).pid is None
        assert answer(hanging).device == "cpu"


def test_a_device_in_this_process_cannot_be_forced_to_leave() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with routing(cpu=lambda: engine) as router:
        router.suspend("cuda", WAIT_SECONDS)
        running = router.submit(speech())
        assert engine.begun.wait(WAIT_SECONDS)
        assert not router.suspend("cpu", 0.0)
        gate.set()
        answer(running)
        assert router.suspend("cpu", WAIT_SECONDS)


def test_a_router_closes_although_a_child_hangs() -> None:
    router = Router({"cuda": ChildHome(ANY_MODEL, stand_in.command("fake"))})
    router.open("cuda")
    router.submit(speech(1.0, stand_in.HANGS))
    until(lambda: gpu(router).running == 1)
    assert not router.close(0.1)
    assert gpu(router).pid is None


def test_an_engine_in_this_process_is_let_go_of_when_it_leaves() -> None:
    import weakref

    engines: list[weakref.ref[FakeEngine]] = []

    def opener() -> FakeEngine:
        engine = FakeEngine()
        engines.append(weakref.ref(engine))
        return engine

    router = Router({"cpu": opener}, idle_seconds={"cpu": 0.1})
    router.open("cpu")
    until(lambda: router.devices()[0].engine == "closed")
    assert engines[0]() is None
    assert answer(router.submit(speech())).transcript.text == "1000ms"
    assert len(engines) == 2
    assert router.close(WAIT_SECONDS)


def test_random_faults_under_load_lose_nothing() -> None:
    """What `tests/bench/worker_faults.py` shows at length, through the router alone."""
    random = np.random.default_rng(7)
    with routing(retry_seconds=0.0) as router:
        router.open("cuda")
        futures: list[Future[Routed]] = []
        expected = []
        for number in range(120):
            seconds = 0.5 + number / 100
            fault = random.random() < 0.1
            first = random.choice([stand_in.DIES, stand_in.BREAKS, stand_in.OUT_OF_MEMORY]) if fault else 0.1
            futures.append(router.submit(speech(seconds, float(first)), stream=number % 8))
            expected.append(f"{round(seconds * 1000)}ms")
            pid = gpu(router).pid
            if pid is not None and random.random() < 0.1:
                # A fault may have ended it just now.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if number % 8 == 7:
                answer(futures[-8])
        assert [answer(future).transcript.text for future in futures] == expected
        assert gpu(router).failures >= 3


def test_the_model_of_a_child_names_its_device() -> None:
    home = ChildHome(replace(ANY_MODEL, device="cpu"), stand_in.command("fake"))
    home.open()
    assert home.pid is not None
    os.kill(home.pid, signal.SIGKILL)
    with pytest.raises(DeviceError, match="device cpu:"):
        home.recognize([speech()], [])
    home.close()
