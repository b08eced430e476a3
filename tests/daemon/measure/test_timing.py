"""What is measured, how often, and where measuring stops: with machines whose times are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import DeviceError
from parakeetd.measure.speech import speech
from parakeetd.measure.timing import Cell, MemoryGuard, Plan, Timed, measure
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing.calibration import Point
from parakeetd.routing.fake import FakeEngine

BOTH: Sequence[Device] = ("cpu", "cuda")


class Machine:
    """Runs batches by a formula, and remembers them."""

    def __init__(self, speed: Callable[[Cell], float]) -> None:
        self.speed = speed
        self.ran: list[Cell] = []

    def __call__(self, cell: Cell) -> float:
        self.ran.append(cell)
        return self.speed(cell)


def quick(cell: Cell) -> float:
    return 0.001 * cell.audio_seconds if cell.device == "cpu" else 0.004 + 0.0001 * cell.audio_seconds


def at_speed(speed: float, cell: Cell) -> float:
    return 0.001 + cell.audio_seconds / speed


def cells(points: Sequence[Point]) -> set[Cell]:
    return {Cell(point.seconds, point.batch, point.device) for point in points}


def test_every_length_and_batch_is_measured_on_every_device() -> None:
    plan = Plan()
    points = measure(Machine(quick), BOTH, plan)
    assert cells(points) == {
        Cell(seconds, batch, device)
        for seconds in plan.lengths
        for device in BOTH
        for batch in plan.batches_on(device)
    }
    for point in points:
        assert point.median_seconds == pytest.approx(quick(Cell(point.seconds, point.batch, point.device)))


def test_devices_take_turns_after_the_warm_up() -> None:
    machine = Machine(quick)
    measure(machine, BOTH, Plan(lengths=(1.0, 2.0), batches=(1,), gpu_batches=()))
    one_round = [(cell.seconds, cell.device) for cell in machine.ran[-4:]]
    assert one_round == [(1.0, "cpu"), (1.0, "cuda"), (2.0, "cpu"), (2.0, "cuda")]
    assert machine.ran[-4:] == machine.ran[-8:-4]


def test_first_runs_do_not_count_and_hiccups_do_not_tell() -> None:
    runs: Counter[Cell] = Counter()

    def slow_at_first(cell: Cell) -> float:
        runs[cell] += 1
        # Libraries load in the first run; in the fourth another program was busy.
        return 0.01 * (20.0 if runs[cell] == 1 else 5.0 if runs[cell] == 4 else 1.0)

    points = measure(slow_at_first, ["cuda"], Plan(lengths=(1.0, 2.0), batches=(1,), gpu_batches=()))
    assert [point.median_seconds for point in points] == [0.01, 0.01]


def test_a_slow_machine_measures_less_and_still_every_length_that_it_can() -> None:
    machine = Machine(lambda cell: cell.audio_seconds / 10)
    plan = Plan(budget_seconds=60.0)
    points = measure(machine, ["cpu"], plan)
    lengths = [point.seconds for point in points if point.batch == 1]
    assert lengths == list(plan.lengths)
    for point in points:
        assert point.median_seconds <= plan.longest_seconds(point.batch)
    assert Cell(20.0, 8, "cpu") not in machine.ran
    spent = sum(machine.speed(cell) for cell in machine.ran)
    assert spent < 2 * plan.budget_seconds


def test_one_hiccup_does_not_end_a_row() -> None:
    runs: Counter[Cell] = Counter()

    def stalling(cell: Cell) -> float:
        runs[cell] += 1
        return 100.0 if (cell.seconds, runs[cell]) == (3.0, 2) else 0.01

    points = measure(stalling, ["cpu"], Plan(batches=(1,)))
    assert [point.seconds for point in points] == list(Plan().lengths)


def test_quick_measuring_stays_near_its_time() -> None:
    for speed in (2.0, 10.0, 100.0, 3000.0):
        machine = Machine(partial(at_speed, speed))
        points = measure(machine, BOTH, Plan.within(5.0))
        assert Cell(0.5, 1, "cpu") in cells(points)
        assert sum(machine.speed(cell) for cell in machine.ran) < 10.0


def test_each_batch_is_run_as_often_as_its_share_allows() -> None:
    short, long = Cell(0.5, 1, "cpu"), Cell(20.0, 1, "cpu")
    plan = Plan(rounds=7)
    assert plan.repeats({short: 0.1, long: 2.0}, 6.0) == {short: 6, long: 1}
    assert plan.repeats({short: 0.1, long: 2.0}, 0.2) == {short: 1, long: 1}
    assert plan.repeats({short: 0.1, long: 2.0}, -5.0) == {short: 1, long: 1}


def test_a_batch_that_the_gpu_has_no_memory_for_ends_its_row() -> None:
    def small_gpu(cell: Cell) -> float:
        if cell.audio_seconds > 16:
            raise RuntimeError("Failed to allocate memory for requested buffer")
        return 0.01

    machine = Machine(small_gpu)
    points = measure(machine, ["cuda"], Plan(lengths=(1.0, 4.0, 8.0, 20.0), batches=(1, 2), gpu_batches=(4,)))
    assert cells(points) == {
        Cell(seconds, batch, "cuda")
        for seconds, batch in ((1.0, 1), (4.0, 1), (8.0, 1), (1.0, 2), (4.0, 2), (8.0, 2), (1.0, 4), (4.0, 4))
    }
    # Nothing larger than what failed was tried.
    assert Cell(20.0, 2, "cuda") not in machine.ran


def test_a_batch_that_would_not_fit_into_memory_is_not_tried() -> None:
    machine = Machine(quick)
    points = measure(machine, ["cpu"], Plan(), fits=lambda cell: cell.audio_seconds <= 20.0)
    assert max(cell.audio_seconds for cell in machine.ran) == 20.0
    assert Cell(20.0, 1, "cpu") in cells(points)


def test_a_device_that_cannot_run_the_model_is_named() -> None:
    def broken(cell: Cell) -> float:
        raise RuntimeError("CUBLAS failure 13")

    with pytest.raises(DeviceError, match=r"device cuda: cannot run the model: CUBLAS failure 13"):
        measure(broken, ["cuda"], Plan())


def test_a_device_that_breaks_while_it_is_measured_is_named() -> None:
    runs = Counter[Cell]()

    def breaking(cell: Cell) -> float:
        runs[cell] += 1
        if runs[cell] > 3:
            raise RuntimeError("device lost")
        return 0.01

    with pytest.raises(DeviceError, match="failed while it was measured: device lost"):
        measure(breaking, ["cuda"], Plan(lengths=(1.0, 2.0), batches=(1,), gpu_batches=()))


def test_progress_only_grows_and_ends_at_the_whole() -> None:
    told: list[tuple[float, float]] = []
    measure(
        Machine(quick), BOTH, Plan(budget_seconds=1.0), tell=lambda done, total: told.append((done, total))
    )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(done <= total for done, total in told)
    assert told[-1][0] == pytest.approx(told[-1][1])


def test_memory_is_foreseen_from_what_smaller_batches_took() -> None:
    resident, available = [1000], [600]
    guard = MemoryGuard(resident=lambda: resident[0], available=lambda: available[0])
    assert guard(Cell(1.0, 1, "cpu"))
    resident[0] = 1100  # one second took 100
    assert guard(Cell(2.0, 1, "cpu"))  # 100 more
    resident[0], available[0] = 1200, 500
    assert guard(Cell(4.0, 1, "cpu"))  # 200 more
    resident[0], available[0] = 1400, 300
    assert not guard(Cell(8.0, 1, "cpu"))  # 400 more, and 300 are left
    assert guard(Cell(2.0, 2, "cpu"))
    # The GPU's memory is its own.
    assert guard(Cell(20.0, 8, "cuda"))


def test_speech_has_its_length_and_each_piece_begins_elsewhere() -> None:
    pieces = speech(2.5, 3)
    assert [len(piece) for piece in pieces] == [round(2.5 * SAMPLE_RATE)] * 3
    assert not np.array_equal(pieces[0], pieces[1])
    [long] = speech(60.0)
    assert len(long) == 60 * SAMPLE_RATE
    # Speech, repeated: no silence is added to reach the length.
    assert np.abs(long[-10 * SAMPLE_RATE :]).max() > 0.05


def test_an_engine_is_timed_by_the_clock_and_gets_whole_batches() -> None:
    now = [0.0]

    class Slow(FakeEngine):
        def recognize(
            self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
        ) -> list[Transcript]:
            now[0] += 0.25 * len(audio)
            return super().recognize(audio, options)

    engine = Slow()
    timed = Timed({"cpu": engine}, clock=lambda: now[0])
    assert timed(Cell(1.0, 2, "cpu")) == 0.5
    assert engine.pieces == [SAMPLE_RATE, SAMPLE_RATE]
