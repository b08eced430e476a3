"""Measured times as SVG plots. They refer to nothing outside themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration, Point

NAMES: Mapping[Device, str] = {"cpu": "CPU", "cuda": "GPU"}

_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222", "#999999")
"""They can be told apart without seeing red or green (Okabe and Ito)."""


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    values: Sequence[tuple[float, float]]


def crossover_plot(calibration: Calibration) -> bytes:
    """Time of one segment by its length, a curve for each device, and where they cross."""
    lengths = sorted({point.seconds for point in calibration.points if point.batch == 1})
    lines = [
        Line(NAMES[device], [(length, calibration.predict(device, length) * 1e3) for length in lengths])
        for device in calibration.devices
    ]
    crossover = calibration.crossover()
    mark = None
    if crossover:
        at = (crossover, calibration.predict("cpu", crossover) * 1e3)
        mark = Line(f"crossover {crossover:.1f} s", [at])
    return _render(
        f"{calibration.identity.bundle}: time of one segment",
        "length of the segment (s)",
        "time (ms)",
        lines,
        mark,
    )


def speed_plot(bundle: str, points: Sequence[Point], rtfx: Callable[[Point], float]) -> bytes:
    """How many times faster than real time, by length, a curve for each device and batch size."""
    keys = sorted({(point.device, point.batch) for point in points})
    lines = [
        Line(
            f"{NAMES[device]}, batch {batch}" if batch > 1 else NAMES[device],
            sorted((p.seconds, rtfx(p)) for p in points if (p.device, p.batch) == (device, batch)),
        )
        for device, batch in keys
    ]
    return _render(f"{bundle}: speed", "length of a segment (s)", "times real time", lines, None)


def _render(title: str, x_title: str, y_title: str, lines: Sequence[Line], mark: Line | None) -> bytes:
    xy, style = _library()
    chart = xy(
        # Left alone, it links a script for tooltips from its own site.
        js=(),
        style=style(background="white", plot_background="white", colors=_COLOURS, font_family="sans-serif"),
        title=title,
        x_title=x_title,
        y_title=y_title,
        # The devices may differ a hundredfold.
        logarithmic=True,
        width=900,
        height=560,
        dots_size=3,
        stroke_style={"width": 2},
        value_formatter=lambda value: f"{value:.3g}" if value < 1000 else f"{value:,.0f}",
        x_value_formatter=lambda value: f"{value:g}",
        x_labels=sorted({x for line in lines for x, _ in line.values}),
    )
    for line in lines:
        chart.add(line.name, list(line.values))
    if mark is not None:
        chart.add(mark.name, list(mark.values), stroke=False, dots_size=8)
    rendered: bytes = chart.render()
    return rendered


def _library() -> tuple[Any, Any]:
    """Chart and style of the library, loaded when something is drawn."""
    before = list(sys.meta_path)
    import pygal
    from pygal.style import Style

    # It would take part in every import from now on, to find map charts that are packages of their own, in a way that
    # Python 3.11 warns of and later versions pass over.
    sys.meta_path[:] = before
    return pygal.XY, Style
