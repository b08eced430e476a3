"""Plots: what they show, and that they refer to nothing outside themselves."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

from parakeetd.measure.plot import crossover_plot, speed_plot
from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration, DeviceIdentity, Identity, Point

LENGTHS = (0.5, 1.0, 2.0, 5.0, 20.0)
CPU = DeviceIdentity("cpu", "int8", threads=2)
CUDA = DeviceIdentity("cuda", "fp16", hardware="H200")


def points(device: Device, delay: float, per_second: float) -> tuple[Point, ...]:
    return tuple(Point(device, seconds, 1, delay + per_second * seconds) for seconds in LENGTHS)


def table(*found: Point) -> Calibration:
    identity = Identity("Xeon", 2, 8, "1.31.1", "0.1.0", "mine", "5e1f", (CPU, CUDA))
    return Calibration(identity, found, "2026-11-22T19:00:00+00:00")


def texts(svg: bytes) -> list[str]:
    """Everything written in a plot, once it has been parsed."""
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def curves(svg: bytes) -> int:
    """Lines that connect measured points."""
    root = ElementTree.fromstring(svg)
    return len([path for path in root.iter() if "line reactive" in path.get("class", "")])


def test_two_curves_and_their_crossover_are_drawn() -> None:
    drawn = crossover_plot(table(*points("cpu", 0.0, 0.1), *points("cuda", 0.19, 0.005)))
    assert {"CPU", "GPU", "crossover 2.0 s", "mine: time of one segment"} <= set(texts(drawn))
    assert curves(drawn) == 2


def test_curves_that_do_not_cross_have_no_mark() -> None:
    drawn = crossover_plot(table(*points("cpu", 0.0, 0.01), *points("cuda", 0.5, 0.1)))
    assert not [text for text in texts(drawn) if "crossover" in text]
    assert curves(drawn) == 2


def test_one_device_is_one_curve() -> None:
    assert curves(crossover_plot(table(*points("cpu", 0.0, 0.1)))) == 1


def test_speeds_have_a_curve_for_each_device_and_batch_size() -> None:
    rows = [
        *points("cpu", 0.0, 0.1),
        *points("cuda", 0.2, 0.01),
        Point("cuda", 1.0, 8, 0.1),
        Point("cuda", 2.0, 8, 0.2),
    ]
    drawn = speed_plot("mine", rows, lambda point: point.seconds * point.batch / point.median_seconds)
    assert {"CPU", "GPU", "GPU, batch 8"} <= set(texts(drawn))
    assert curves(drawn) == 3


def test_a_plot_loads_nothing_from_elsewhere() -> None:
    drawn = crossover_plot(table(*points("cpu", 0.0, 0.1))).decode()
    plain = re.sub(r"<!--.*?-->", "", drawn)
    assert set(re.findall(r"https?://[^\"'\s<]+", plain)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "<script src" not in plain
    assert "@import" not in plain


def test_the_library_leaves_the_import_system_as_it_was() -> None:
    speed_plot("mine", points("cpu", 0.0, 0.1), lambda point: 1.0)
    assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("pygal")]
