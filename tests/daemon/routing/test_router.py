"""The router with engines that have no model: who gets what, and that everything accepted is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import pytest

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError, Closed, DeviceError, Overloaded
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing import Dropped, Engine, Estimate, Routed, Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.routing.schedule import Schedule, Step
from parakeetd.routing.worker import Job

WAIT_SECONDS = 10.0
"""Far more than any of these take; a test that needs it has failed."""


def speech(seconds: float) -> Samples:
    return np.full(round(seconds * SAMPLE_RATE), 0.1, np.float32)


@contextmanager
def routing(
    retry_seconds: float = 30.0, max_queued: int = 256, estimate: Estimate | None = None, **engines: Engine
) -> Iterator[Router]:
    def opener(engine: Engine) -> Callable[[], Engine]:
        return lambda: engine

    devices: dict[Device, Callable[[], Engine]] = {}
    for name in ("cpu", "cuda"):
        if name in engines:
            devices["cuda" if name == "cuda" else "cpu"] = opener(engines[name])
    router = Router(devices, retry_seconds=retry_seconds, max_queued=max_queued, estimate=estimate)
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


def batching(device: Device, seconds: float, count: int) -> float:
    """A device whose runs all take as long."""
    return 0.1


@contextmanager
def waiting_behind(engine: FakeEngine, gate: threading.Event) -> Iterator[Router]:
    """A router whose only device is busy with one segment of 0.1 s until the gate opens."""
    with routing(cuda=engine, estimate=batching) as router:
        running = router.submit(speech(0.1))
        assert engine.begun.wait(WAIT_SECONDS)
        yield router
        gate.set()
        answer(running)


def test_what_waits_for_a_device_is_computed_together_and_answered_to_whom_it_belongs() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with waiting_behind(engine, gate) as router:
        lengths = [2.0, 2.1, 2.2]
        options = [DecodeOptions(), DecodeOptions("ctc"), DecodeOptions()]
        futures = [
            router.submit(speech(length), decode=option, stream=number)
            for number, (length, option) in enumerate(zip(lengths, options, strict=True))
        ]
        gate.set()
        answers = [answer(future) for future in futures]
    assert [routed.transcript.text for routed in answers] == ["2000ms", "2100ms", "2200ms"]
    assert [routed.batch for routed in answers] == [3, 3, 3]
    assert engine.batches[1:] == [[32_000, 33_600, 35_200]]
    assert engine.options[1:] == options


def test_audio_at_fault_in_a_batch_takes_nobody_with_it() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate, refused=[33_600])
    with waiting_behind(engine, gate) as router:
        futures = [router.submit(speech(length)) for length in (2.0, 2.1, 2.2, 2.3)]
        gate.set()
        with pytest.raises(AudioError, match="told to refuse"):
            answer(futures[1])
        texts = [answer(future).transcript.text for number, future in enumerate(futures) if number != 1]
        assert all(report.healthy for report in router.devices())
    assert texts == ["2000ms", "2200ms", "2300ms"]


def test_a_segment_that_breaks_the_device_takes_nobody_with_it() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate, poisonous=[33_600])
    with waiting_behind(engine, gate) as router:
        futures = [router.submit(speech(length)) for length in (2.0, 2.1, 2.2, 2.3)]
        gate.set()
        with pytest.raises(DeviceError, match="poisoned"):
            answer(futures[1])
        texts = [answer(future).transcript.text for number, future in enumerate(futures) if number != 1]
    assert texts == ["2000ms", "2200ms", "2300ms"]
    assert engine.batches[1] == [32_000, 33_600, 35_200, 36_800]
    assert sorted(engine.batches[2:]) == [[32_000], [33_600], [35_200], [36_800]]


def test_a_batch_that_memory_has_no_room_for_is_computed_in_smaller_ones() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate, memory=4 * 32_000)
    with waiting_behind(engine, gate) as router:
        futures = [router.submit(speech(2.0)) for _ in range(8)]
        gate.set()
        assert [answer(future).batch for future in futures] == [4] * 8
        assert all(report.healthy for report in router.devices())
    assert [len(batch) for batch in engine.batches[1:]] == [8, 4, 4]


def test_a_client_that_leaves_before_its_batch_is_not_computed_and_harms_nobody() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with waiting_behind(engine, gate) as router:
        futures = [router.submit(speech(length)) for length in (2.0, 2.1, 2.2)]
        assert futures[1].cancel()
        gate.set()
        assert [answer(futures[each]).transcript.text for each in (0, 2)] == ["2000ms", "2200ms"]
    assert engine.batches[1:] == [[32_000, 35_200]]


def test_a_client_that_leaves_while_its_batch_runs_harms_nobody() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with routing(cuda=engine, estimate=batching) as router:
        future = router.submit(speech(2.0))
        assert engine.begun.wait(WAIT_SECONDS)
        assert not future.cancel()
        other = router.submit(speech(2.1))
        gate.set()
        assert answer(other).transcript.text == "2100ms"


def test_an_interim_that_a_newer_one_replaces_is_answered_as_dropped() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with waiting_behind(engine, gate) as router:
        older = router.submit(speech(0.5), final=False, stream="one")
        other = router.submit(speech(0.6), final=False, stream="two")
        newer = router.submit(speech(1.0), final=False, stream="one")
        with pytest.raises(Dropped, match="newer"):
            answer(older)
        gate.set()
        assert answer(newer).transcript.text == "1000ms"
        assert answer(other).transcript.text == "600ms"
    assert 8_000 not in engine.pieces


def test_a_device_that_hangs_on_a_segment_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parakeetd.routing.engine_record.HUNG_SECONDS", 0.1)
    hanging = FakeEngine(gate=threading.Event())

    def prefers_gpu(device: Device, seconds: float, count: int) -> float:
        return 0.001 if device == "cuda" else 0.002

    with routing(cpu=FakeEngine(), cuda=hanging, estimate=prefers_gpu) as router:
        future = router.submit(speech(2.0))
        assert hanging.begun.wait(WAIT_SECONDS)
        assert answer(future).device == "cpu"
        assert hanging.gate is not None
        hanging.gate.set()


def test_the_estimate_decides_and_can_be_replaced() -> None:
    with routing(cpu=FakeEngine(), cuda=FakeEngine(), estimate=lambda device, *_: len(device)) as router:
        assert answer(router.submit(speech(10))).device == "cpu"
        router.use_estimate(lambda device, *_: 1 / len(device))
        assert answer(router.submit(speech(1))).device == "cuda"


def test_with_a_threshold_the_length_alone_decides() -> None:
    router = Router({"cpu": FakeEngine, "cuda": FakeEngine}, threshold_seconds=2.0)
    router.open("cpu")
    router.open("cuda")
    assert [answer(router.submit(speech(seconds))).device for seconds in (1.9, 2.0)] == ["cpu", "cuda"]
    router.close(WAIT_SECONDS)


def test_many_clients_at_once_with_a_gpu_that_fails_now_and_then_all_get_their_own_text() -> None:
    class Unreliable(FakeEngine):
        def recognize(
            self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
        ) -> list[Transcript]:
            self.failures = len(self.batches) % 3 == 2
            return super().recognize(audio, options)

    wrong: list[tuple[int, str]] = []

    def client(number: int) -> None:
        for round_number in range(20):
            milliseconds = 100 + number * 20 + round_number
            text = answer(router.submit(speech(milliseconds / 1000), stream=number)).transcript.text
            if text != f"{milliseconds}ms":
                wrong.append((milliseconds, text))

    with routing(cpu=FakeEngine(), cuda=Unreliable(), retry_seconds=0.0, estimate=batching) as router:
        clients = [threading.Thread(target=client, args=(number,)) for number in range(16)]
        for each in clients:
            each.start()
        for each in clients:
            each.join(WAIT_SECONDS)
        assert router.queued == 0
    assert not any(each.is_alive() for each in clients)
    assert wrong == []


def test_a_stream_that_begins_wakes_no_thread_while_the_engine_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Device] = []
    step = Schedule.step

    def counted(schedule: Schedule[Job], device: Device, now: float) -> Step[Job]:
        looks.append(device)
        return step(schedule, device, now)

    monkeypatch.setattr(Schedule, "step", counted)
    with routing(cpu=FakeEngine()) as router:
        answer(router.submit(speech(1)))
        # The worker looks once more when it has computed that.
        time.sleep(0.2)
        before = len(looks)
        for _ in range(10):
            router.wake()
            time.sleep(0.005)
        assert len(looks) == before
