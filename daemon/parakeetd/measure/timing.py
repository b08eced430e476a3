"""Times of batches by length and size: which to measure, how often, and when it is enough.

What runs a batch and says how long it took is given: a recogniser and the clock, or a function in a test.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from parakeetd.audio import Samples
from parakeetd.errors import DeviceError
from parakeetd.measure.machine import available_memory, resident_memory
from parakeetd.measure.speech import speech
from parakeetd.model.sessions import Device
from parakeetd.routing import Engine
from parakeetd.routing.calibration import Point
from parakeetd.routing.worker import DEFAULT_DECODING

LENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
BATCHES = (1, 2, 4, 8)
GPU_BATCHES = (16, 32)
"""Beyond those: a CPU has long been busy with all it has."""
SHORT_LENGTHS = (0.5, 1.0, 2.0, 5.0, 20.0)
SHORT_BATCHES = (1, 4)
SHORT_GPU_BATCHES = (16,)
SHORT_SECONDS = 20.0
"""With less time than this, fewer lengths and batches are measured."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A batch to time."""

    seconds: float
    """Length of each segment."""
    batch: int
    device: Device

    @property
    def audio_seconds(self) -> float:
        return self.seconds * self.batch


Run = Callable[[Cell], float]
"""Runs a batch; seconds that it took. It raises `Stopped` to end measuring."""


class Stopped(Exception):
    """There is no time to measure everything."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and about how long that may take."""

    budget_seconds: float = 60.0
    """About: each batch that is measured at all is run three times."""
    lengths: tuple[float, ...] = LENGTHS
    """Ascending."""
    batches: tuple[int, ...] = BATCHES
    """Ascending, from 1."""
    gpu_batches: tuple[int, ...] = GPU_BATCHES
    """Ascending; those that only a GPU is given."""
    rounds: int = 7
    """Times that a batch is run at most."""
    favour: float = 3.0
    """How much longer than a batch a single segment may take: the rest of the table builds on them."""

    @classmethod
    def within(cls, seconds: float) -> Plan:
        """The most that can be measured in about so many seconds."""
        if seconds < SHORT_SECONDS:
            return cls(seconds, SHORT_LENGTHS, SHORT_BATCHES, SHORT_GPU_BATCHES)
        return cls(seconds)

    def batches_on(self, device: Device) -> tuple[int, ...]:
        """Sizes of batches for a device, ascending."""
        return self.batches + (self.gpu_batches if device == "cuda" else ())

    def longest_seconds(self, batch: int) -> float:
        """What would take longer than this is left out: the table says by its neighbours how it would be."""
        return self.budget_seconds / 20 * (self.favour if batch == 1 else 1.0)

    def repeats(self, costs: Mapping[Cell, float], remaining_seconds: float) -> Mapping[Cell, int]:
        """How often to run each batch again: as often as its share of the remaining time allows, at least once.

        Args:
            costs: seconds of one run.
        """
        share = remaining_seconds / max(1, len(costs))
        most = max(1, self.rounds - 1)
        return {cell: max(1, min(most, int(share / max(cost, 1e-9)))) for cell, cost in costs.items()}


@dataclass(slots=True)
class Progress:
    """How far measuring is, in seconds of work."""

    tell: Callable[[float, float], None]
    """Told what is done, and what it will be in all."""
    total: float
    done: float = 0.0

    def add(self, seconds: float) -> None:
        self.done += seconds
        self.tell(self.done, max(self.total, self.done))


def measure(
    run: Run,
    devices: Sequence[Device],
    plan: Plan,
    *,
    fits: Callable[[Cell], bool] = lambda _: True,
    tell: Callable[[float, float], None] = lambda done, total: None,
) -> tuple[Point, ...]:
    """Median times of batches on devices.

    The first run of each batch only warms it up. Then batches and devices take turns, so that a disturbance
    from outside meets all of them alike.

    Args:
        fits: whether there is memory for a batch; asked right before its first run.
        tell: told how much is done, in seconds of work, and how much it will be in all.

    Raises:
        DeviceError: a device cannot even run the smallest batch, or failed on one that it ran before.
        Stopped: `run` raised it.
    """
    progress = Progress(tell, plan.budget_seconds)
    times: dict[Cell, list[float]] = {}
    for device in devices:
        times |= _first_pass(run, device, plan, fits, progress)
    costs = {cell: taken[0] for cell, taken in times.items()}
    repeats = plan.repeats(costs, plan.budget_seconds - progress.done)
    progress.total = progress.done + sum(costs[cell] * repeats[cell] for cell in costs)
    for turn in range(max(repeats.values())):
        for cell in sorted(cell for cell in costs if repeats[cell] > turn):
            try:
                seconds = run(cell)
            except Stopped:
                raise
            except Exception as error:
                raise DeviceError(cell.device, f"failed while it was measured: {error}") from error
            times[cell].append(seconds)
            progress.add(seconds)
    return tuple(
        # The lower one of the middle two: a disturbance only adds.
        Point(cell.device, cell.seconds, cell.batch, statistics.median_low(taken))
        for cell, taken in sorted(
            times.items(), key=lambda item: (item[0].device, item[0].batch, item[0].seconds)
        )
    )


def _first_pass(
    run: Run, device: Device, plan: Plan, fits: Callable[[Cell], bool], progress: Progress
) -> dict[Cell, list[float]]:
    """Warm each batch up and time it once. A batch that takes too long or too much memory ends its row."""
    smallest = Cell(plan.lengths[0], plan.batches[0], device)
    try:
        # Libraries are loaded and memory is taken in the very first run: its time says nothing.
        progress.add(run(smallest))
    except Stopped:
        raise
    except Exception as error:
        raise DeviceError(device, f"cannot run the model: {error}") from error
    times: dict[Cell, list[float]] = {}
    costs: dict[Cell, float] = {}
    for batch in plan.batches_on(device):
        for seconds in plan.lengths:
            cell = Cell(seconds, batch, device)
            expected = _expected(cell, costs, plan)
            if cell != smallest and (
                expected is None or expected > plan.longest_seconds(batch) or not fits(cell)
            ):
                break
            try:
                first, taken = run(cell), run(cell)
            except Stopped:
                raise
            except Exception:
                # Too little memory on the device: nothing larger is tried.
                break
            progress.add(first + taken)
            times[cell] = [taken]
            costs[cell] = min(first, taken)
    if not times:
        raise DeviceError(device, "ran the model once and failed then")
    return times


def _expected(cell: Cell, costs: Mapping[Cell, float], plan: Plan) -> float | None:
    """At most so many seconds a batch will take, by the next smaller ones; None when one of them was left out."""
    found = []
    at = plan.lengths.index(cell.seconds)
    if at:
        shorter = Cell(plan.lengths[at - 1], cell.batch, cell.device)
        if shorter not in costs:
            return None
        found.append(costs[shorter] * cell.seconds / shorter.seconds)
    batches = plan.batches_on(cell.device)
    at = batches.index(cell.batch)
    if at:
        smaller = Cell(cell.seconds, batches[at - 1], cell.device)
        if smaller not in costs:
            return None
        found.append(costs[smaller] * cell.batch / smaller.batch)
    return min(found, default=0.0)


@dataclass(slots=True)
class Timed:
    """Runs batches of speech on engines, by the clock."""

    engines: Mapping[Device, Engine]
    clock: Callable[[], float] = time.perf_counter
    _pieces: dict[tuple[float, int], Sequence[Samples]] = field(default_factory=dict)

    def __call__(self, cell: Cell) -> float:
        key = (cell.seconds, cell.batch)
        if key not in self._pieces:
            self._pieces[key] = speech(*key)
        pieces = self._pieces[key]
        begun = self.clock()
        self.engines[cell.device].recognize(pieces, [DEFAULT_DECODING] * cell.batch)
        return self.clock() - begun


@dataclass(slots=True)
class MemoryGuard:
    """Says whether there is memory for a batch, by what smaller ones have taken on the CPU.

    The GPU has memory of its own, and says itself when it has none left.
    """

    resident: Callable[[], int] = resident_memory
    available: Callable[[], int] = available_memory
    _before: int = 0
    _largest: float = 0.0

    def __call__(self, cell: Cell) -> bool:
        if cell.device != "cpu":
            return True
        now = self.resident()
        if not self._largest:
            self._before = now
        grown = now - self._before
        wanted = grown * cell.audio_seconds / self._largest if self._largest else 0.0
        self._largest = max(self._largest, cell.audio_seconds)
        # Attention grows faster than the length, and others want to live too: half is left.
        return wanted - grown <= self.available() / 2
