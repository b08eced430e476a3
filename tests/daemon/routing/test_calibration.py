"""Calibration tables: what is predicted between and beyond measured times, and which machine a table holds for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration, DeviceIdentity, Identity, Point, in_words

CPU = DeviceIdentity("cpu", "int8", threads=2)
CUDA = DeviceIdentity("cuda", "fp16", hardware="H200, driver for CUDA 13.0")
MACHINE = Identity("Xeon", 2, 8, "1.31.1", "0.1.0", "mine", "5e1f", (CPU, CUDA))


def table(*points: tuple[Device, float, int, float], identity: Identity = MACHINE) -> Calibration:
    return Calibration(identity, tuple(Point(*point) for point in points), "2026-11-22T19:00:00+00:00")


TWO = table(
    ("cpu", 1.0, 1, 0.1),
    ("cpu", 2.0, 1, 0.2),
    ("cpu", 10.0, 1, 1.0),
    ("cpu", 1.0, 4, 0.3),
    ("cpu", 2.0, 4, 0.6),
    ("cuda", 1.0, 1, 0.25),
    ("cuda", 10.0, 1, 0.35),
)


@pytest.mark.parametrize(
    ("seconds", "batch", "expected"),
    [
        (1.0, 1, 0.1),
        (6.0, 1, 0.6),  # half-way between two lengths
        (0.1, 1, 0.1),  # shorter than what was measured: no faster
        (20.0, 1, 2.0),  # longer: as steep as before
        (1.0, 4, 0.3),
        (1.5, 4, 0.45),
        (1.0, 3, 0.1 + 0.2 * 2 / 3),  # between batches of 1 and of 4
        (1.0, 8, 0.6),  # more than were measured at once: two turns
        (1.0, 9, 0.7),
        (20.0, 4, 6.0),  # batches of 4 were measured up to 2 s only
    ],
)
def test_times_are_interpolated_between_what_was_measured(
    seconds: float, batch: int, expected: float
) -> None:
    assert TWO.predict("cpu", seconds, batch) == pytest.approx(expected)


def test_what_took_longer_than_something_larger_was_disturbed() -> None:
    disturbed = table(("cpu", 1.0, 1, 9.0), ("cpu", 2.0, 1, 0.3), ("cpu", 4.0, 1, 0.6), ("cpu", 1.0, 2, 0.2))
    assert disturbed.predict("cpu", 2.0) == pytest.approx(0.3)
    assert disturbed.predict("cpu", 1.0, 2) == pytest.approx(0.2)
    assert disturbed.predict("cpu", 1.0) == pytest.approx(0.2)


def test_the_steeper_of_the_last_and_the_whole_slope_goes_on() -> None:
    flat_end = table(("cpu", 1.0, 1, 0.1), ("cpu", 9.0, 1, 0.9), ("cpu", 11.0, 1, 0.9))
    assert flat_end.predict("cpu", 21.0) == pytest.approx(0.9 + 10 * 0.08)
    steep_end = table(("cpu", 1.0, 1, 0.1), ("cpu", 9.0, 1, 0.5), ("cpu", 10.0, 1, 0.9))
    assert steep_end.predict("cpu", 12.0) == pytest.approx(1.7)


def test_a_single_length_says_that_longer_ones_take_their_share() -> None:
    single = table(("cuda", 2.0, 1, 0.3))
    assert single.predict("cuda", 1.0) == pytest.approx(0.3)
    assert single.predict("cuda", 6.0) == pytest.approx(0.9)


def test_a_device_that_was_not_measured_has_no_times() -> None:
    with pytest.raises(KeyError):
        table(("cpu", 1.0, 1, 0.1)).predict("cuda", 1.0)


times = st.floats(1e-4, 10.0)
tables = st.dictionaries(
    st.tuples(st.sampled_from([0.5, 1.0, 2.0, 5.0, 20.0]), st.sampled_from([1, 2, 4, 8])), times, min_size=1
).filter(lambda rows: any(batch == 1 for _, batch in rows))


@given(tables, st.floats(0.0, 60.0), st.floats(0.0, 60.0), st.integers(1, 40), st.integers(1, 40))
def test_longer_segments_and_larger_batches_never_take_less(
    rows: dict[tuple[float, int], float], a: float, b: float, m: int, n: int
) -> None:
    calibration = table(*(("cpu", seconds, batch, taken) for (seconds, batch), taken in rows.items()))
    little = calibration.predict("cpu", min(a, b), min(m, n))
    assert 0 < little <= calibration.predict("cpu", max(a, b), max(m, n)) * (1 + 1e-9)


def test_the_crossover_is_where_the_curves_meet() -> None:
    crossover = TWO.crossover()
    assert crossover is not None
    assert 2.0 < crossover < 10.0
    assert TWO.predict("cpu", crossover) == pytest.approx(TWO.predict("cuda", crossover))
    assert in_words(TWO) == f"the GPU is faster from {crossover:.1f} s"


def test_the_last_crossing_counts() -> None:
    twice = table(
        *(
            (("cpu", length, 1, taken))
            for length, taken in ((1.0, 0.3), (2.0, 0.31), (4.0, 0.32), (8.0, 2.0))
        ),
        *(
            (("cuda", length, 1, taken))
            for length, taken in ((1.0, 0.2), (2.0, 0.4), (4.0, 0.41), (8.0, 0.5))
        ),
    )
    crossover = twice.crossover()
    assert crossover is not None
    assert 4.0 < crossover < 8.0


def test_a_gpu_that_is_never_or_always_faster_has_no_crossover_to_find() -> None:
    slow = table(("cpu", 1, 1, 0.1), ("cpu", 9, 1, 0.2), ("cuda", 1, 1, 0.2), ("cuda", 9, 1, 0.3))
    assert slow.crossover() is None
    assert in_words(slow) == "the CPU is faster at every length measured"
    fast = table(("cuda", 1, 1, 0.1), ("cuda", 9, 1, 0.2), ("cpu", 1, 1, 0.2), ("cpu", 9, 1, 0.3))
    assert fast.crossover() == 0.0
    assert in_words(fast) == "the GPU is faster at every length measured"
    assert table(("cpu", 1.0, 1, 0.1)).crossover() is None


def test_a_table_of_this_machine_and_bundle_is_used() -> None:
    assert TWO.differences(MACHINE) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"processor": "EPYC"}, "the processor was Xeon and is EPYC"),
        ({"cores": 1}, "the number of cores was 2 and is 1"),
        ({"memory_gib": 16}, "the memory in GiB was 8 and is 16"),
        ({"onnxruntime": "1.32.0"}, "ONNX Runtime was 1.31.1 and is 1.32.0"),
        ({"parakeetd": "0.2.0"}, "parakeetd was 0.1.0 and is 0.2.0"),
        ({"bundle": "yours"}, "the model was mine and is yours"),
        ({"manifest_sha256": "0ther"}, "the model's content is another"),
        ({"devices": (replace(CPU, precision="fp32"), CUDA)}, "the precision on cpu was int8 and is fp32"),
        ({"devices": (replace(CPU, threads=1), CUDA)}, "the number of threads on cpu was 2 and is 1"),
        ({"devices": (CPU, replace(CUDA, hardware="T4"))}, "the GPU on cuda was H200"),
        ({"devices": (CPU, replace(CUDA, precision="fp32"))}, "the precision on cuda was fp16 and is fp32"),
    ],
)
def test_a_table_of_another_machine_or_bundle_is_not_used_and_says_why(
    change: dict[str, Any], named: str
) -> None:
    other = replace(MACHINE, **change)
    [difference] = TWO.differences(other)
    assert difference.startswith(named)


def test_a_table_without_the_gpu_does_not_serve_a_machine_that_has_one() -> None:
    cpu_only = table(("cpu", 1.0, 1, 0.1), identity=replace(MACHINE, devices=(CPU,)))
    assert cpu_only.differences(MACHINE) == ["cuda was not measured"]


def test_a_table_of_both_devices_serves_a_daemon_that_uses_one() -> None:
    assert TWO.differences(replace(MACHINE, devices=(CPU,))) == []
    assert TWO.differences(replace(MACHINE, devices=(CUDA,))) == []


@pytest.mark.parametrize(
    "points",
    [
        [("cpu", 1.0, 2, 0.1)],  # no single segment
        [("cpu", 1.0, 1, 0.0)],
        [("cpu", 1.0, 1, float("nan"))],
        [("cpu", -1.0, 1, 0.1)],
        [("cpu", 1.0, 1, 0.1), ("cpu", 1.0, 0, 0.1)],
    ],
)
def test_times_that_cannot_be_are_refused(points: list[tuple[Device, float, int, float]]) -> None:
    with pytest.raises(ValueError, match="cpu"):
        table(*points)


def test_times_of_a_device_that_nothing_is_known_of_are_refused() -> None:
    with pytest.raises(ValueError, match="cuda has times and no identity"):
        table(("cuda", 1.0, 1, 0.1), identity=replace(MACHINE, devices=(CPU,)))
