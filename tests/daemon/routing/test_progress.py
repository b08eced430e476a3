"""What a router says of its work to a watchdog."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript
from parakeetd.routing import Router
from parakeetd.routing.engine_record import HUNG_SECONDS
from parakeetd.routing.fake import FakeEngine
from parakeetd.routing.schedule import RETRY_SECONDS, Schedule
from parakeetd.routing.worker import Job, job_of
from parakeetd.supervision import moves

WAIT_SECONDS = 30.0
SPEECH = np.full(SAMPLE_RATE, 0.1, np.float32)


class Hanging(FakeEngine):
    """Hangs from its second batch on, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = threading.Event()
        self.go_on = threading.Event()
        self._batches = 0

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        self._batches += 1
        if self._batches > 1:
            self.hangs.set()
            self.go_on.wait(WAIT_SECONDS)
        return super().recognize(audio, options)


def test_work_that_hangs_stands_still_until_it_goes_on() -> None:
    engine = Hanging()
    router = Router({"cpu": lambda: engine})
    try:
        router.submit(SPEECH).result(WAIT_SECONDS)
        assert router.progress().unanswered == 0
        hanging = router.submit(SPEECH)
        assert engine.hangs.wait(WAIT_SECONDS)
        first = router.progress()
        # More of the same is accepted; it is no sign that anything moves.
        router.submit(SPEECH)
        second = router.progress()
        assert (first.unanswered, second.unanswered) == (1, 2)
        assert second.still_seconds > first.still_seconds > 0
        assert moves(second)
        engine.go_on.set()
        hanging.result(WAIT_SECONDS)
    finally:
        engine.go_on.set()
        assert router.close(WAIT_SECONDS)
    assert router.progress().unanswered == 0
    assert router.progress().still_seconds < second.still_seconds + WAIT_SECONDS


def job() -> Job:
    return job_of(SPEECH, final=True, decode=None, stream=None)


def test_patience_is_that_of_the_slowest_thing_under_way() -> None:
    schedule: Schedule[Job] = Schedule(["cpu"], lambda device, seconds, count: 4.0)
    assert schedule.patience() == HUNG_SECONDS
    schedule.want("cpu", 0.0)
    assert schedule.step("cpu", 0.0).opens
    schedule.opened("cpu", 1.0)
    schedule.add(job(), 2.0)
    assert schedule.step("cpu", 2.0).batch
    # Ten times what is predicted.
    assert schedule.patience() == 40.0


def test_a_device_that_failed_is_waited_for_until_its_next_try() -> None:
    schedule: Schedule[Job] = Schedule(["cpu"])
    schedule.want("cpu", 0.0)
    assert schedule.step("cpu", 0.0).opens
    schedule.failed("cpu", 1.0, "no memory")
    assert schedule.patience() == RETRY_SECONDS


class OneByOne(FakeEngine):
    """Begins each batch when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: queue.Queue[None] = queue.Queue()
        self.leave: queue.Queue[None] = queue.Queue()

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        self.entered.put(None)
        self.leave.get(timeout=WAIT_SECONDS)
        return super().recognize(audio, options)


def test_time_without_movement_begins_with_work_and_anew_with_each_batch() -> None:
    engine = OneByOne()
    router = Router({"cpu": lambda: engine})
    router.open("cpu")
    try:
        for wait in (0.05, 0.0):
            # A router that had nothing to do has not stood still.
            time.sleep(wait)
            before = time.monotonic()
            first = router.submit(SPEECH)
            engine.entered.get(timeout=WAIT_SECONDS)
            assert router.progress().still_seconds <= time.monotonic() - before
            second = router.submit(SPEECH)
            before = time.monotonic()
            engine.leave.put(None)
            first.result(WAIT_SECONDS)
            engine.entered.get(timeout=WAIT_SECONDS)
            assert router.progress().unanswered == 1
            assert router.progress().still_seconds <= time.monotonic() - before
            engine.leave.put(None)
            second.result(WAIT_SECONDS)
    finally:
        router.close(WAIT_SECONDS)
