"""Which device computes a piece, and when: decisions on predicted times."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from parakeetd.model.sessions import Device
from parakeetd.routing import SMALL_ONCE, default_estimate, limits_for
from parakeetd.routing.batcher import Piece
from parakeetd.routing.policy import (
    INTERIM_USEFUL_SECONDS,
    LANES_SHARE,
    RATIO_HALF_LIFE_SECONDS,
    RATIO_LIMIT,
    DeviceState,
    Plan,
    Speed,
    candidates,
    plan,
    remaining_seconds,
)

BOTH = [DeviceState("cpu"), DeviceState("cuda")]


def estimate(device: Device, seconds: float, count: int) -> float:
    """A GPU that takes 0.2 s for any batch, and a CPU of ten times real time: as fast for a piece of 2 s."""
    return 0.2 if device == "cuda" else count * seconds / 10


def final(seconds: float, submitted: float = 0.0) -> Piece:
    return Piece(seconds, True, submitted)


def interim(seconds: float, submitted: float = 0.0) -> Piece:
    return Piece(seconds, False, submitted)


def planned(pieces: Sequence[Piece], devices: Sequence[DeviceState] = BOTH, now: float = 0.0) -> Plan[Piece]:
    return plan(pieces, devices, estimate, now=now)


def lengths(made: Plan[Piece], device: Device) -> list[list[float]]:
    return [[piece.seconds for piece in batch.pieces] for batch in made.batches[device]]


@pytest.mark.parametrize(("other", "together"), [(2.4, True), (1.7, True), (1.0, False)])
def test_pieces_join_where_what_a_batch_takes_once_is_more_than_the_padding(
    other: float, together: bool
) -> None:
    made = plan(
        [final(2.4), final(other)], [DeviceState("cpu")], default_estimate(cpu_once=SMALL_ONCE), now=0.0
    )
    assert lengths(made, "cpu") == ([[2.4, other]] if together else [[2.4], [other]])


def test_lanes_share_a_batch_of_four_and_leave_a_batch_of_three_in_one_piece() -> None:
    one, two = (default_estimate(cpu_once=SMALL_ONCE, cpu_lanes=lanes) for lanes in (1, 2))
    assert [two("cpu", 2.0, count) for count in (1, 2, 3)] == [one("cpu", 2.0, count) for count in (1, 2, 3)]
    assert two("cpu", 2.0, 4) == pytest.approx(LANES_SHARE * one("cpu", 2.0, 2))
    assert two("cpu", 2.0, 4) < two("cpu", 2.0, 3)
    assert limits_for(2)["cpu"].pieces == 2 * limits_for(1)["cpu"].pieces


@pytest.mark.parametrize(("seconds", "device"), [(0.5, "cpu"), (1.9, "cpu"), (2.1, "cuda"), (20.0, "cuda")])
def test_the_faster_of_two_idle_devices_takes_a_piece(seconds: float, device: Device) -> None:
    assert lengths(planned([final(seconds)]), device) == [[seconds]]


def test_a_piece_goes_to_the_slower_device_when_the_faster_one_is_busy_for_longer() -> None:
    busy = [DeviceState("cpu"), DeviceState("cuda", free_in=0.5)]
    assert lengths(planned([final(6.0)], busy), "cpu") == [[6.0]]
    assert lengths(planned([final(8.0)], busy), "cuda") == [[8.0]]


def test_joining_a_batch_counts_with_what_it_costs_there() -> None:
    # By itself the second piece would have to wait for the first to be computed: 0.4 s there, 0.3 s on the CPU.
    assert lengths(planned([final(3.0), final(3.0)]), "cuda") == [[3.0, 3.0]]


def test_what_is_known_to_be_slow_gets_less() -> None:
    slow = [DeviceState("cpu"), DeviceState("cuda", ratio=3.0)]
    assert lengths(planned([final(5.0)], slow), "cpu") == [[5.0]]
    assert lengths(planned([final(7.0)], slow), "cuda") == [[7.0]]


def test_finals_come_before_interims_and_older_ones_first() -> None:
    pieces = [interim(0.5, 0.0), final(2.0, 2.0), final(3.5, 1.0)]
    made = planned(pieces, [DeviceState("cpu")], now=0.0)
    assert lengths(made, "cpu") == [[3.5], [2.0], [0.5]]


def test_an_interim_that_would_come_too_late_is_not_planned() -> None:
    busy = [DeviceState("cpu", free_in=INTERIM_USEFUL_SECONDS - 0.1)]
    late, soon = interim(2.0), interim(0.5)
    made = planned([late, soon], busy)
    assert made.too_late == [late]
    assert lengths(made, "cpu") == [[0.5]]


def test_finals_are_never_too_late() -> None:
    made = planned([final(20.0) for _ in range(20)], [DeviceState("cpu")])
    assert made.too_late == []
    assert len(made.batches["cpu"]) == 20


def test_a_device_that_fails_gets_nothing_while_another_works() -> None:
    assert candidates(20.0, [DeviceState("cpu"), DeviceState("cuda", healthy=False)]) == BOTH[:1]


def test_an_unhealthy_device_is_better_than_none() -> None:
    ill = [DeviceState("cpu", healthy=False)]
    assert candidates(0.5, ill) == ill


def test_a_piece_is_not_tried_twice_on_a_device() -> None:
    assert candidates(20.0, BOTH, tried={"cuda"}) == BOTH[:1]
    assert candidates(20.0, BOTH, tried={"cuda", "cpu"}) == []


def test_with_a_threshold_the_length_alone_decides() -> None:
    busy = [DeviceState("cpu"), DeviceState("cuda", free_in=100.0)]
    assert candidates(4.0, busy, threshold_seconds=4.0) == busy[1:]
    assert candidates(3.99, busy, threshold_seconds=4.0) == busy[:1]
    assert candidates(4.0, [busy[0]], threshold_seconds=0.0) == [busy[0]]


@pytest.mark.parametrize("threshold", [0.5, 4.0, 15.0])
def test_by_default_both_devices_are_as_fast_at_the_threshold(threshold: float) -> None:
    assumed = default_estimate(threshold)
    assert assumed("cpu", threshold, 1) == pytest.approx(assumed("cuda", threshold, 1))
    assert assumed("cpu", threshold * 1.1, 1) > assumed("cuda", threshold * 1.1, 1)
    assert assumed("cpu", threshold * 0.9, 1) < assumed("cuda", threshold * 0.9, 1)


def test_by_default_a_threshold_of_zero_gives_the_gpu_everything() -> None:
    assumed = default_estimate(0.0)
    assert assumed("cpu", 0.1, 1) > assumed("cuda", 0.1, 1)


def test_a_slow_device_is_noticed_within_a_few_runs() -> None:
    speed = Speed()
    for run in range(5):
        speed = speed.after(0.1, 0.3, float(run))
    assert speed.at(5.0) == pytest.approx(3.0, rel=0.25)


def test_one_hiccup_is_not_a_slow_device() -> None:
    assert Speed().after(0.1, 100.0, 0.0).at(0.0) < 2


def test_a_ratio_stays_within_its_bounds() -> None:
    slow = fast = Speed()
    for run in range(100):
        slow, fast = slow.after(0.1, 1000.0, float(run)), fast.after(0.1, 0.0, float(run))
    assert slow.ratio == pytest.approx(RATIO_LIMIT)
    assert fast.ratio == pytest.approx(1 / RATIO_LIMIT)


def test_a_device_that_was_slow_long_ago_gets_another_chance() -> None:
    assert Speed(4.0, 0.0).at(RATIO_HALF_LIFE_SECONDS) == pytest.approx(math.sqrt(4.0))


def test_what_is_overdue_is_expected_to_take_longer_the_later_it_is() -> None:
    assert [remaining_seconds(1.0, elapsed) for elapsed in (0.25, 1.0, 3.0)] == [0.75, 0.0, 2.0]
