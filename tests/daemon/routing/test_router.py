"""The router with engines that have no model: who gets what, and that everything accepted is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import pytest

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError, Closed, DeviceError, Overloaded
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing import Engine, Routed, Router
from parakeetd.routing.fake import FakeEngine

WAIT_SECONDS = 10.0
"""Far more than any of these take; a test that needs it has failed."""


def speech(seconds: float) -> Samples:
    return np.full(round(seconds * SAMPLE_RATE), 0.1, np.float32)


@contextmanager
def routing(retry_seconds: float = 30.0, max_queued: int = 256, **engines: Engine) -> Iterator[Router]:
    def opener(engine: Engine) -> Callable[[], Engine]:
        return lambda: engine

    devices: dict[Device, Callable[[], Engine]] = {}
    for name in ("cpu", "cuda"):
        if name in engines:
            devices["cuda" if name == "cuda" else "cpu"] = opener(engines[name])
    router = Router(devices, retry_seconds=retry_seconds, max_queued=max_queued)
    for device in devices:
        router.open(device)
    try:
        yield router
    finally:
        router.close(WAIT_SECONDS)


def answer(future: Future[Routed]) -> Routed:
    return future.result(WAIT_SECONDS)


def test_short_segments_go_to_the_cpu_and_long_ones_to_the_gpu() -> None:
    with routing(cpu=FakeEngine(), cuda=FakeEngine()) as router:
        short, long = answer(router.submit(speech(1))), answer(router.submit(speech(10)))
    assert (short.device, short.transcript.text) == ("cpu", "1000ms")
    assert (long.device, long.transcript.text) == ("cuda", "10000ms")


def test_a_device_that_fails_hands_its_segment_to_the_other() -> None:
    gpu = FakeEngine(failures=1)
    with routing(cpu=FakeEngine(), cuda=gpu) as router:
        routed = answer(router.submit(speech(10)))
        states = {report.device: report for report in router.devices()}
    assert (routed.device, routed.transcript.text) == ("cpu", "10000ms")
    assert gpu.pieces == [160_000]
    assert not states["cuda"].healthy
    assert "told to fail" in str(states["cuda"].failure)


def test_a_device_that_failed_is_left_alone_for_a_while_and_then_tried_again() -> None:
    gpu = FakeEngine(failures=1)
    with routing(cpu=FakeEngine(), cuda=gpu, retry_seconds=1e9) as router:
        assert [answer(router.submit(speech(10))).device for _ in range(2)] == ["cpu", "cpu"]
    gpu = FakeEngine(failures=1)
    with routing(cpu=FakeEngine(), cuda=gpu, retry_seconds=0.0) as router:
        assert [answer(router.submit(speech(10))).device for _ in range(2)] == ["cpu", "cuda"]
        assert all(report.healthy and report.failure is None for report in router.devices())


def test_a_device_that_cannot_be_opened_hands_its_segment_on() -> None:
    def broken() -> Engine:
        raise DeviceError("cuda", "out of memory")

    router = Router({"cpu": FakeEngine, "cuda": broken})
    assert answer(router.submit(speech(10))).device == "cpu"
    router.close(WAIT_SECONDS)


def test_a_segment_that_fails_everywhere_is_answered_with_the_devices_and_the_reason() -> None:
    with routing(cpu=FakeEngine(failures=9), cuda=FakeEngine(failures=9)) as router:
        future = router.submit(speech(10))
        with pytest.raises(DeviceError, match=r"cpu, cuda: failed on a segment of 10\.0 s: .*told to fail"):
            answer(future)


def test_audio_at_fault_is_not_held_against_the_device() -> None:
    class Refusing:
        def recognize(self, audio: object, options: object) -> list[Transcript]:
            raise AudioError("too long")

    with routing(cpu=Refusing()) as router:
        future = router.submit(speech(1))
        with pytest.raises(AudioError, match="too long"):
            answer(future)
        assert all(report.healthy for report in router.devices())


def test_a_segment_is_decoded_as_it_was_asked_on_whichever_device_answers_it() -> None:
    broken, other = FakeEngine(failures=1), FakeEngine()
    with routing(cpu=broken, cuda=other) as router:
        answer(router.submit(speech(1), decode=DecodeOptions("ctc")))
        answer(router.submit(speech(10)))
    assert [options.decoder for options in other.options] == ["ctc", "tdt"]


def test_finals_overtake_interims_that_wait() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with routing(cpu=engine) as router:
        running = router.submit(speech(0.1))
        assert engine.begun.wait(WAIT_SECONDS)
        futures = [router.submit(speech(0.2), final=False), router.submit(speech(0.3))]
        gate.set()
        for future in [running, *futures]:
            answer(future)
    assert engine.pieces == [1600, 4800, 3200]


def test_cancelled_segments_are_not_computed() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with routing(cpu=engine) as router:
        first, second, third = (router.submit(speech(seconds)) for seconds in (0.1, 0.2, 0.3))
        assert second.cancel()
        gate.set()
        answer(first), answer(third)
    assert engine.pieces == [1600, 4800]


def test_a_full_queue_is_answered_with_its_limit() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with routing(cpu=engine, max_queued=2) as router:
        running = router.submit(speech(0.1))
        assert engine.begun.wait(WAIT_SECONDS)
        waiting = [router.submit(speech(0.1)) for _ in range(2)]
        with pytest.raises(Overloaded, match="the limit is 2"):
            router.submit(speech(0.1))
        gate.set()
        assert [answer(future).device for future in [running, *waiting]] == ["cpu"] * 3


def test_closing_answers_what_was_submitted_also_what_is_handed_over_meanwhile() -> None:
    gate = threading.Event()
    gpu = FakeEngine(failures=3, gate=gate)
    with routing(cpu=FakeEngine(), cuda=gpu) as router:
        futures = [router.submit(speech(10)) for _ in range(3)]
        closer = threading.Thread(target=router.close, args=(WAIT_SECONDS,))
        closer.start()
        gate.set()
        assert [answer(future).device for future in futures] == ["cpu"] * 3
        closer.join(WAIT_SECONDS)
        with pytest.raises(Closed):
            router.submit(speech(1))


def test_a_device_that_hangs_does_not_keep_the_router_from_closing() -> None:
    gate = threading.Event()
    router = Router({"cpu": lambda: FakeEngine(gate=gate)})
    router.submit(speech(1))
    assert not router.close(0.05)
    gate.set()
