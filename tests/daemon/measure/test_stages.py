"""Where the time of a segment goes, on the embedded model by a clock of our own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, cycle

import pytest

from parakeetd.measure.stages import Stages, measure_stages
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.recognizer import Recognizer


def test_stages_are_told_apart_and_the_first_run_does_not_count() -> None:
    recognizer = Recognizer.open(Bundle.read(EMBEDDED), threads=1)
    # The clock is read at the start, and after features, encoder and decoder, in each run.
    steps: Iterator[float] = iter(
        [0.0, 90.0, 90.0, 90.0, *[step for _ in range(3) for step in (5.0, 1.0, 6.0, 3.0)]]
    )
    times = accumulate(steps)
    stages = measure_stages(recognizer, 1.0, rounds=3, clock=lambda: next(times))
    assert stages == Stages(1.0, 6.0, 3.0)
    assert stages.shares == pytest.approx((0.1, 0.6, 0.3))


def test_the_median_counts() -> None:
    recognizer = Recognizer.open(Bundle.read(EMBEDDED), threads=1)
    encoder = cycle([1.0, 7.0, 2.0])
    steps = iter([step for _ in range(4) for step in (0.0, 1.0, next(encoder), 1.0)])
    times = accumulate(steps)
    assert measure_stages(recognizer, 0.5, rounds=3, clock=lambda: next(times)).encoder == 2.0
