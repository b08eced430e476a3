"""Tables of figures, as people read them and `column`, `awk` and Markdown understand them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from parakeetd.measure.plot import NAMES
from parakeetd.routing.calibration import Point


def by_length(points: Sequence[Point], cell: Callable[[Point], str]) -> Iterator[str]:
    """A row for each length, a column for each device and batch size; `-` for what was not measured."""
    columns = sorted({(point.device, point.batch) for point in points})
    cells = {(point.device, point.batch, point.seconds): cell(point) for point in points}
    heads = [f"{NAMES[device]} x {batch}" if batch > 1 else NAMES[device] for device, batch in columns]
    rows = [
        [f"{seconds:g} s", *(cells.get((*column, seconds), "-") for column in columns)]
        for seconds in sorted({point.seconds for point in points})
    ]
    return aligned([["segment", *heads], *rows])


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with their columns one under the other: the first to the left, figures to the right."""
    widths = [max(len(text) for text in column) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        figures = (f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True))
        yield "  ".join([f"{first:<{widths[0]}}", *figures]).rstrip()
