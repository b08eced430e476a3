"""What waits, what runs where: the state behind the router, with time as an argument."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from parakeetd.errors import Overloaded
from parakeetd.model.sessions import Device
from parakeetd.routing.batcher import COMPANY_SECONDS, Piece
from parakeetd.routing.engine_record import HUNG_RATIO, HUNG_SECONDS
from parakeetd.routing.policy import INTERIM_USEFUL_SECONDS
from parakeetd.routing.schedule import Schedule, Step


def estimate(device: Device, seconds: float, count: int) -> float:
    """A GPU that takes 0.2 s for any batch, and a CPU of ten times real time."""
    return 0.2 if device == "cuda" else count * seconds / 10


def schedule(
    *devices: Device,
    opened: bool = True,
    max_queued: int = 256,
    retry_seconds: float = 30.0,
    threshold_seconds: float | None = None,
    idle_seconds: Mapping[Device, float] | None = None,
) -> Schedule[Piece]:
    made: Schedule[Piece] = Schedule(
        devices,
        estimate,
        max_queued=max_queued,
        retry_seconds=retry_seconds,
        threshold_seconds=threshold_seconds,
        idle_seconds=idle_seconds,
    )
    for device in devices if opened else ():
        made.want(device, -1.0)
        assert made.step(device, -1.0).opens
        made.opened(device, 0.0)
    return made


def final(seconds: float, submitted: float = 0.0) -> Piece:
    return Piece(seconds, True, submitted)


def interim(seconds: float, submitted: float = 0.0, stream: str = "one") -> Piece:
    return Piece(seconds, False, submitted, stream)


def add(to: Schedule[Piece], *pieces: Piece) -> None:
    for piece in pieces:
        to.add(piece, piece.submitted)


def lengths(step: Step[Piece]) -> list[float]:
    return [piece.seconds for piece in step.batch]


def test_the_slower_device_leaves_a_segment_to_the_faster_one_that_is_nearly_free() -> None:
    both = schedule("cpu", "cuda")
    add(both, final(8.0))
    assert lengths(both.step("cuda", 0.01)) == [8.0]
    add(both, final(9.0, 0.1))
    step = both.step("cpu", 0.1)
    assert step.batch == ()
    # It looks again when the GPU should have been free.
    assert step.wait_seconds == pytest.approx(0.2 - 0.09)


def test_the_slower_device_takes_over_when_the_faster_one_is_overdue() -> None:
    both = schedule("cpu", "cuda")
    add(both, final(8.0))
    assert both.step("cuda", 0.01).batch
    add(both, final(9.0, 0.1))
    assert lengths(both.step("cpu", 1.0)) == [9.0]


def test_a_burst_on_a_free_gpu_is_gathered_for_a_few_milliseconds_and_computed_at_once() -> None:
    gpu = schedule("cuda")
    for number in range(12):
        add(gpu, final(5.0, number * 0.0001))
    step = gpu.step("cuda", 0.0012)
    assert 0 < (step.wait_seconds or 0.0) <= COMPANY_SECONDS
    assert lengths(gpu.step("cuda", 0.0012 + COMPANY_SECONDS)) == [5.0] * 12


def test_a_single_segment_on_a_free_gpu_does_not_wait() -> None:
    gpu = schedule("cuda")
    add(gpu, final(5.0))
    assert lengths(gpu.step("cuda", 0.0)) == [5.0]


def test_a_newer_interim_takes_the_place_of_an_older_one_of_its_stream() -> None:
    cpu = schedule("cpu")
    older, other, newer = interim(1.0), interim(1.2, 0.1, "two"), interim(1.5, 0.5)
    add(cpu, older, other, newer)
    assert [piece for piece, _ in cpu.dropped] == [older]
    assert lengths(cpu.step("cpu", 0.5)) == [1.5]


def test_an_interim_that_waited_too_long_is_dropped_and_a_final_is_not() -> None:
    cpu = schedule("cpu")
    late, needed = interim(1.0), final(1.0)
    add(cpu, late, needed)
    assert cpu.step("cpu", INTERIM_USEFUL_SECONDS + 1).batch == (needed,)
    assert [piece for piece, _ in cpu.dropped] == [late]


def test_a_final_that_finds_no_room_takes_that_of_the_oldest_interim() -> None:
    cpu = schedule("cpu", max_queued=2)
    first, second = interim(1.0, 0.0, "one"), interim(1.0, 0.1, "two")
    add(cpu, first, second, final(1.0, 0.2))
    assert [piece for piece, _ in cpu.dropped] == [first]
    add(cpu, final(1.0, 0.3))
    with pytest.raises(Overloaded, match="2 segments are waiting, the limit is 2"):
        add(cpu, final(1.0, 0.4))
    assert len(cpu.waiting) == 2


def test_an_interim_that_finds_no_room_is_dropped() -> None:
    cpu = schedule("cpu", max_queued=1)
    unlucky = interim(1.0, 0.1)
    add(cpu, final(1.0), unlucky)
    assert [piece for piece, _ in cpu.dropped] == [unlucky]
    assert len(cpu.waiting) == 1


def test_an_engine_is_opened_when_it_would_be_of_use_and_meanwhile_the_other_device_works() -> None:
    both = schedule("cpu", "cuda", opened=False)
    both.want("cpu", -1.0)
    assert both.step("cpu", -1.0).opens
    both.opened("cpu", 0.0)
    add(both, final(1.0))
    # The CPU is as good for this one.
    assert not both.step("cuda", 0.0).opens
    assert both.step("cpu", 0.0).batch
    both.finished("cpu", 0.1)
    add(both, final(8.0, 0.2))
    assert both.step("cuda", 0.2).opens
    assert lengths(both.step("cpu", 0.2)) == [8.0]
    both.opened("cuda", 3.0)
    add(both, final(8.0, 3.0))
    assert lengths(both.step("cuda", 3.0)) == [8.0]


def test_an_engine_that_is_being_opened_is_not_opened_a_second_time() -> None:
    cpu = schedule("cpu", opened=False)
    cpu.want("cpu", 0.0)
    assert cpu.step("cpu", 0.0).opens
    add(cpu, final(1.0, 0.1))
    assert cpu.step("cpu", 0.1) == Step()
    cpu.opened("cpu", 1.0)
    assert lengths(cpu.step("cpu", 1.0)) == [1.0]


def test_segments_of_a_batch_that_failed_are_each_tried_again_by_themselves() -> None:
    gpu = schedule("cuda", retry_seconds=0.0)
    pieces = [final(5.0), final(5.0), final(5.0)]
    add(gpu, *pieces)
    assert len(gpu.step("cuda", 1.0).batch) == 3
    gpu.failed("cuda", 1.1, "out of memory")
    assert gpu.hopeless == []
    for piece in pieces:
        assert gpu.step("cuda", 1.2).opens
        gpu.opened("cuda", 1.3)
        assert gpu.step("cuda", 1.4).batch == (piece,)
        gpu.failed("cuda", 1.5, "out of memory")
    assert gpu.hopeless == [(piece, "out of memory") for piece in pieces]


def test_after_a_batch_that_memory_had_no_room_for_batches_stay_half_as_large() -> None:
    gpu = schedule("cuda")
    add(gpu, *(final(5.0) for _ in range(8)))
    assert len(gpu.step("cuda", 1.0).batch) == 8
    gpu.too_large("cuda")
    for now in (2.0, 3.0):
        assert len(gpu.step("cuda", now).batch) == 4
        gpu.finished("cuda", now + 0.2)
    add(gpu, *(final(10.0, 4.0) for _ in range(8)))
    assert len(gpu.step("cuda", 5.0).batch) == 2


def test_an_engine_that_is_opened_anew_is_given_large_batches_again() -> None:
    gpu = schedule("cuda", retry_seconds=0.0)
    add(gpu, *(final(5.0) for _ in range(8)))
    assert len(gpu.step("cuda", 1.0).batch) == 8
    gpu.too_large("cuda")
    gpu.failed("cuda", 2.0, "its process has ended")
    assert gpu.step("cuda", 2.0).opens
    gpu.opened("cuda", 3.0)
    assert len(gpu.step("cuda", 3.0).batch) == 8


def test_a_device_that_does_not_open_hands_on_all_that_wait() -> None:
    both = schedule("cpu", "cuda", opened=False)
    add(both, final(8.0))
    assert both.step("cuda", 0.0).opens
    both.failed("cuda", 0.1, "no driver")
    assert both.step("cuda", 0.1) == Step(wait_seconds=30.0)
    assert both.step("cpu", 0.1).opens
    both.failed("cpu", 0.2, "no memory")
    assert [reason for _, reason in both.hopeless] == ["no memory"]
    assert both.waiting == []


def test_what_a_device_does_not_answer_is_given_to_another_and_it_is_not_trusted() -> None:
    both = schedule("cpu", "cuda")
    stuck = final(8.0)
    add(both, stuck)
    assert both.step("cuda", 0.0).batch == (stuck,)
    given_up = max(HUNG_SECONDS, HUNG_RATIO * 0.2)
    # With nothing else to do the other device wakes up for it.
    assert both.step("cpu", 1.0).wait_seconds == pytest.approx(given_up - 1.0)
    assert both.step("cpu", given_up).batch == (stuck,)
    assert not both.healthy("cuda", given_up)
    assert both.failure("cuda") == "no answer after 10 s"
    # Whoever can end it ends it, and is told once.
    assert both.hung == [("cuda", "no answer after 10 s")]
    both.hung.clear()
    both.finished("cpu", given_up + 0.5)
    both.step("cpu", given_up + 0.5)
    assert both.hung == []
    both.finished("cuda", given_up + 1)
    assert both.healthy("cuda", given_up + 1)


def test_a_device_that_was_given_up_may_find_its_batch_too_large_after_all() -> None:
    both = schedule("cpu", "cuda", retry_seconds=0.0)
    add(both, final(8.0), final(8.0))
    assert len(both.step("cuda", 0.0).batch) == 2
    assert both.step("cpu", 60.0).batch
    both.too_large("cuda")
    add(both, final(8.5, 60.1))
    assert 8.5 in lengths(both.step("cuda", 60.2))


def test_times_that_differ_from_the_estimate_are_learned_after_the_first_run() -> None:
    gpu = schedule("cuda")
    for run in range(6):
        add(gpu, final(5.0, float(run)))
        assert gpu.step("cuda", float(run)).batch
        gpu.finished("cuda", run + (5.0 if run == 0 else 0.6))
        if run == 0:
            # The first run of an engine is no measure of it.
            assert gpu.ratio("cuda", 0.0) == 1
    assert gpu.ratio("cuda", 6.0) == pytest.approx(3.0, rel=0.25)


def test_a_new_estimate_starts_without_what_was_learned_about_the_old_one() -> None:
    gpu = schedule("cuda")
    for run in range(3):
        add(gpu, final(5.0, float(run)))
        assert gpu.step("cuda", float(run)).batch
        gpu.finished("cuda", run + 0.6)
    assert gpu.ratio("cuda", 3.0) > 1
    gpu.use_estimate(lambda *_: 0.6)
    assert gpu.ratio("cuda", 3.0) == 1


def test_an_engine_leaves_when_it_was_of_no_use_for_its_time() -> None:
    both = schedule("cpu", "cuda", idle_seconds={"cuda": 300.0})
    add(both, final(8.0))
    assert both.step("cuda", 0.0).batch
    both.finished("cuda", 10.0)
    assert both.step("cuda", 10.0) == Step(wait_seconds=300.0)
    assert both.engine("cuda") == "open"
    assert both.step("cuda", 310.0).closes
    assert both.engine("cuda") == "closing"
    both.closed("cuda")
    assert both.engine("cuda") == "closed"
    # There is no more to wait for, and the CPU has no such time.
    assert both.step("cuda", 311.0) == Step()
    assert both.step("cpu", 1e6) == Step()
    # What comes then is done by who is there, and opens it anew.
    add(both, final(8.0, 400.0))
    assert both.step("cuda", 400.0).opens
    assert lengths(both.step("cpu", 400.0)) == [8.0]
    assert both.openings("cuda") == 1


def test_work_for_others_does_not_keep_an_engine() -> None:
    both = schedule("cpu", "cuda", idle_seconds={"cuda": 60.0})
    for now in range(0, 60, 10):
        add(both, final(1.0, float(now)))
        assert both.step("cuda", float(now)).wait_seconds == pytest.approx(60.0 - now)
        assert both.step("cpu", float(now)).batch
        both.finished("cpu", now + 0.1)
    add(both, final(1.0, 60.0))
    assert both.step("cuda", 60.0).closes


def test_who_is_about_to_speak_wakes_what_has_left_and_keeps_what_is_there() -> None:
    both = schedule("cpu", "cuda", idle_seconds={"cuda": 60.0, "cpu": 1000.0})
    both.wake(59.0)
    assert both.step("cuda", 60.0) == Step(wait_seconds=59.0)
    assert both.step("cuda", 119.0).closes
    both.closed("cuda")
    both.wake(200.0)
    assert both.step("cuda", 200.0).opens
    assert both.engine("cuda") == "opening"
    # Twice is no more than once.
    both.wake(201.0)
    both.opened("cuda", 203.0)
    assert both.step("cuda", 203.0) == Step(wait_seconds=60.0)
    assert both.openings("cuda") == 2
    # Who came while it was being opened has it, and does not call it back when it leaves.
    assert both.step("cuda", 263.0).closes
    both.closed("cuda")
    assert both.step("cuda", 264.0) == Step()


def test_the_cpu_is_not_woken_for_who_has_a_gpu() -> None:
    both = schedule("cpu", "cuda", opened=False)
    both.want("cuda", 0.0)
    assert both.step("cuda", 0.0).opens
    both.opened("cuda", 6.0)
    both.wake(10.0)
    assert both.step("cpu", 10.0) == Step()
    # If the GPU has left, it is needed at once.
    gone = schedule("cpu", "cuda", opened=False)
    gone.wake(0.0)
    assert gone.step("cpu", 0.0).opens
    assert gone.step("cuda", 0.0).opens


def test_who_comes_while_an_engine_is_being_opened_does_not_have_it_tried_again_at_once() -> None:
    both = schedule("cpu", "cuda", opened=False)
    for _ in range(2):
        both.wake(0.0)
        both.step("cuda", 0.0)
    both.failed("cuda", 1.0, "no driver")
    assert not both.step("cuda", 1.0).opens


def test_what_failed_a_short_time_ago_is_not_woken() -> None:
    both = schedule("cpu", "cuda")
    both.failed("cuda", 0.0, "no driver")
    assert both.failures("cuda") == 1
    both.wake(10.0)
    assert both.step("cuda", 10.0) == Step()
    both.wake(31.0)
    assert both.step("cuda", 31.0).opens


def test_a_suspended_device_leaves_after_its_batch_and_stays_away() -> None:
    both = schedule("cpu", "cuda")
    add(both, final(8.0))
    assert both.step("cuda", 0.0).batch
    both.suspend("cuda")
    both.finished("cuda", 0.2)
    assert both.step("cuda", 0.2).closes
    both.closed("cuda")
    assert both.engine("cuda") == "suspended"
    add(both, final(8.0, 1.0))
    both.wake(1.0)
    assert both.step("cuda", 1.0) == Step()
    assert lengths(both.step("cpu", 1.0)) == [8.0]
    both.finished("cpu", 1.8)
    both.resume("cuda")
    both.wake(2.0)
    assert both.step("cuda", 2.0).opens


def test_what_the_others_failed_on_waits_for_the_suspended_device() -> None:
    both = schedule("cpu", "cuda")
    both.suspend("cuda")
    assert both.step("cuda", 0.0).closes
    both.closed("cuda")
    poor = final(8.0, 1.0)
    add(both, poor)
    assert both.step("cpu", 1.0).batch == (poor,)
    both.failed("cpu", 1.1, "no memory")
    assert both.hopeless == []
    assert not both.step("cpu", 1.2).opens
    both.resume("cuda")
    assert both.step("cuda", 60.0).opens
    both.opened("cuda", 66.0)
    assert both.step("cuda", 66.0).batch == (poor,)


def test_with_a_threshold_too_nobody_waits_for_a_device_that_is_being_opened() -> None:
    both = schedule("cpu", "cuda", opened=False, threshold_seconds=2.0)
    both.want("cpu", 0.0)
    both.step("cpu", 0.0)
    both.opened("cpu", 1.0)
    add(both, final(8.0, 1.0))
    # It is asked for, and the CPU does what it would have done.
    assert both.step("cuda", 1.0).opens
    assert lengths(both.step("cpu", 1.0)) == [8.0]
    both.finished("cpu", 1.8)
    both.opened("cuda", 7.0)
    add(both, final(8.0, 7.0))
    assert not both.step("cpu", 7.0).batch
    assert lengths(both.step("cuda", 7.0)) == [8.0]
