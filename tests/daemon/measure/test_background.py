"""Measuring while a daemon has nothing else to do: it waits for quiet, shares the engines and ends when told."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import DeviceError
from parakeetd.measure.background import Activity, BackgroundMeasuring, SharedEngine
from parakeetd.measure.timing import Plan, Stopped
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript
from parakeetd.routing.calibration import Point
from parakeetd.routing.fake import FakeEngine

PATIENCE_SECONDS = 30.0
SMALL = Plan(budget_seconds=1.0, lengths=(0.5, 1.0), batches=(1, 2), gpu_batches=(), rounds=2)
PIECE = [np.ones(SAMPLE_RATE, np.float32)]
OPTIONS = [DecodeOptions()]


class Taken:
    """Waits for what was measured."""

    def __init__(self) -> None:
        self.points: tuple[Point, ...] = ()
        self.came = threading.Event()

    def __call__(self, points: tuple[Point, ...]) -> None:
        self.points = points
        self.came.set()


def test_both_devices_are_measured_on_the_engines_that_serve() -> None:
    activity = Activity(quiet_seconds=0.0)
    engines = {"cpu": FakeEngine(), "cuda": FakeEngine()}
    opened: list[str] = []

    def opener(device: str) -> FakeEngine:
        opened.append(device)
        return engines[device]

    cpu = SharedEngine(lambda: opener("cpu"), activity)
    cuda = SharedEngine(lambda: opener("cuda"), activity)
    cpu.open()
    taken = Taken()
    measuring = BackgroundMeasuring({"cpu": cpu, "cuda": cuda}, activity, taken, plan=SMALL)
    measuring.start()
    assert taken.came.wait(PATIENCE_SECONDS)
    assert measuring.stop(PATIENCE_SECONDS)
    assert {(point.device, point.batch, point.seconds) for point in taken.points} == {
        (device, batch, seconds) for device in ("cpu", "cuda") for batch in (1, 2) for seconds in (0.5, 1.0)
    }
    # The engine that was open was not opened again, and the one that was not needed yet is open for its worker now.
    assert sorted(opened) == ["cpu", "cuda"]
    cuda.open()
    assert sorted(opened) == ["cpu", "cuda"]


def test_nothing_is_measured_while_somebody_is_being_recognised() -> None:
    activity = Activity(quiet_seconds=0.0)
    gate = threading.Event()
    busy, idle = FakeEngine(gate=gate), FakeEngine()
    cpu, cuda = SharedEngine(lambda: busy, activity), SharedEngine(lambda: idle, activity)
    cpu.open()
    speaking = threading.Thread(target=cpu.recognize, args=(PIECE, OPTIONS))
    speaking.start()
    assert busy.begun.wait(PATIENCE_SECONDS)
    taken = Taken()
    measuring = BackgroundMeasuring({"cuda": cuda}, activity, taken, plan=SMALL)
    measuring.start()
    # The other device is idle, and still it is not touched: its process would share the CPU.
    assert not taken.came.wait(0.2)
    assert idle.pieces == []
    gate.set()
    speaking.join()
    assert taken.came.wait(PATIENCE_SECONDS)
    assert idle.pieces


def test_it_is_quiet_only_some_time_after_the_last_work() -> None:
    now = [100.0]
    activity = Activity(quiet_seconds=3.0, clock=lambda: now[0])
    with activity:
        now[0] = 110.0
    now[0] = 113.0
    activity.wait_for_quiet()  # returns: three seconds have passed
    with activity:
        pass
    waiting = threading.Thread(target=_swallow_stop, args=(activity,))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    activity.stop()
    waiting.join(PATIENCE_SECONDS)
    assert not waiting.is_alive()


def _swallow_stop(activity: Activity) -> None:
    with pytest.raises(Stopped):
        activity.wait_for_quiet()


def test_a_daemon_that_ends_does_not_wait_for_the_rest() -> None:
    activity = Activity(quiet_seconds=3600.0)
    taken = Taken()
    engine = SharedEngine(FakeEngine, activity)
    measuring = BackgroundMeasuring({"cpu": engine}, activity, taken, plan=SMALL)
    measuring.start()
    assert measuring.stop(PATIENCE_SECONDS)
    assert not taken.came.is_set()


def test_what_was_never_started_is_stopped_at_once() -> None:
    activity = Activity()
    assert BackgroundMeasuring({}, activity, Taken()).stop(0.0)


def test_a_device_that_fails_is_told_and_the_daemon_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> FakeEngine:
        raise DeviceError("cuda", "out of memory")

    activity = Activity(quiet_seconds=0.0)
    taken = Taken()
    measuring = BackgroundMeasuring({"cuda": SharedEngine(broken, activity)}, activity, taken, plan=SMALL)
    measuring.start()
    assert measuring.wait(PATIENCE_SECONDS)
    assert "could not be measured: device cuda: out of memory" in caplog.text
    assert not taken.came.is_set()


def test_an_engine_is_opened_once_until_it_is_closed() -> None:
    opened: list[FakeEngine] = []

    def opener() -> FakeEngine:
        opened.append(FakeEngine())
        return opened[-1]

    engine = SharedEngine(opener, Activity())
    assert engine.open() is engine.open()
    assert len(opened) == 1
    engine.close()
    assert not engine.is_open
    assert engine.open().recognize(PIECE, OPTIONS)[0].text == "1000ms"
    assert len(opened) == 2


def test_an_engine_that_has_left_is_opened_by_its_worker_when_measuring_goes_on() -> None:
    engine = SharedEngine(FakeEngine, Activity())
    asked: list[str] = []

    def ask_the_worker() -> None:
        asked.append("cuda")
        engine.open()

    quiet = engine.measured(ask_the_worker)
    assert quiet.recognize(PIECE, OPTIONS)[0].text == "1000ms"
    assert quiet.recognize(PIECE, OPTIONS)[0].text == "1000ms"
    assert asked == ["cuda"]
    engine.close()
    assert quiet.recognize(PIECE, OPTIONS)[0].text == "1000ms"
    assert asked == ["cuda", "cuda"]


def test_an_engine_that_hangs_while_it_is_measured_can_be_killed() -> None:
    class Hanging:
        """A home whose engine waits until it is killed."""

        pid: int | None = None
        memory_bytes: int | None = None

        def __init__(self) -> None:
            self.killed = threading.Event()
            self.begun = threading.Event()

        def open(self) -> Hanging:
            return self

        def recognize(
            self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /
        ) -> list[Transcript]:
            self.begun.set()
            self.killed.wait()
            raise DeviceError("cuda", "killed")

        def close(self) -> None: ...

        def kill(self, reason: str) -> bool:
            self.killed.set()
            return True

    home = Hanging()
    engine = SharedEngine(home, Activity())
    engine.open()
    failed: list[str] = []

    def measure() -> None:
        try:
            engine.run_quietly(PIECE, OPTIONS)
        except DeviceError as error:
            failed.append(error.reason)

    measuring = threading.Thread(target=measure)
    measuring.start()
    assert home.begun.wait(PATIENCE_SECONDS)
    assert engine.kill("no answer")
    measuring.join(PATIENCE_SECONDS)
    assert failed == ["killed"]


def test_an_engine_whose_process_has_died_is_opened_anew() -> None:
    class Mortal:
        """A home with a process, which may die."""

        def __init__(self) -> None:
            self.openings = 0
            self.pid: int | None = None

        def open(self) -> FakeEngine:
            self.openings += 1
            self.pid = self.openings
            return FakeEngine()

        def close(self) -> None:
            self.pid = None

        def kill(self, reason: str) -> bool:
            return True

        @property
        def memory_bytes(self) -> int | None:
            return 0 if self.pid is None else None

    home = Mortal()
    engine = SharedEngine(home, Activity())
    engine.open()
    engine.open()
    assert home.openings == 1
    home.pid = None
    engine.open()
    assert home.openings == 2
