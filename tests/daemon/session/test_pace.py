from __future__ import annotations

import math

import pytest

from parakeetd.session.pace import FIRST_SECONDS, FIRST_TRIES, INTERIM_SECONDS, SHARE, Pace


def made(
    pace: Pace, until: float, *, has_text_from: float = 0.0, compute_seconds: float = 0.01
) -> list[float]:
    """When interims are made while audio comes in steps of 20 ms."""
    times = []
    for step in range(round(until / 0.02) + 1):
        now = step * 0.02
        if pace.due(now):
            pace.made(now)
            pace.heard(now >= has_text_from, compute_seconds)
            times.append(round(now, 2))
    return times


def test_interims_come_often_until_there_is_text_and_then_at_their_usual_pace() -> None:
    times = made(Pace(), 1.5, has_text_from=0.35)
    tries = math.ceil(0.35 / FIRST_SECONDS) + 1
    first = [round(i * FIRST_SECONDS, 2) for i in range(tries)]
    assert times[:tries] == first
    assert times[tries : tries + 2] == [round(first[-1] + INTERIM_SECONDS * n, 2) for n in (1, 2)]


def test_what_has_no_text_for_long_is_not_tried_so_often_any_more() -> None:
    times = made(Pace(), 3.0, has_text_from=99)
    assert times[FIRST_TRIES] - times[FIRST_TRIES - 1] == pytest.approx(INTERIM_SECONDS, abs=0.021)


def test_interims_that_take_long_are_made_less_often() -> None:
    times = made(Pace(), 5.0, compute_seconds=0.5)
    assert times[1] - times[0] >= 0.5 / SHARE


def test_the_next_segment_has_its_first_interim_at_once() -> None:
    pace = Pace()
    pace.made(5.0)
    pace.heard(True, 0.01)
    assert not pace.due(5.1)
    pace.ended()
    assert pace.due(5.1)
