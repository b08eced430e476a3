"""Which device computes what, and when: the earliest predicted finish. Pure decisions."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

from parakeetd.model.lanes import groups
from parakeetd.model.sessions import Device
from parakeetd.routing.batcher import Batch, BatchLimits, P, joined, takes_more

Estimate = Callable[[Device, float, int], float]
"""Predicted seconds for a batch: device, seconds that its pieces are padded to, number of pieces."""

DEFAULT_THRESHOLD_SECONDS = 4.0
"""From this length on a GPU that has not been measured is taken to be faster than the CPU."""

DEFAULT_LIMITS: Mapping[Device, BatchLimits] = {
    "cpu": BatchLimits(pieces=4, seconds=40.0),
    "cuda": BatchLimits(pieces=32, seconds=240.0),
}
"""Activations of a large model take some 10 MB for each second."""

SMALL_ONCE = 0.4
"""`cpu_once` of a small encoder, whose operators take about as long to begin as to compute. One thread took 4.5 ms for
a piece of 1.7 s, 6.7 for two, 11.2 for four, 20 for eight."""

LANES_SHARE = 1.35
"""How much longer a group takes beside others than alone: they share caches, memory and the interpreter."""

OPENING_SECONDS: Mapping[Device, float] = {"cpu": 3.0, "cuda": 6.0}
"""What opening an engine takes until it has been seen."""

INTERIM_USEFUL_SECONDS = 2.0
"""An interim that would be answered later than this after its audio is not computed: newer audio is there by then."""

HORIZON = 64
"""Pieces that a plan looks at. Finals behind them are planned when their turn is nearer; interims are too late."""

OPEN_BATCHES = 8
"""Batches of a device that a plan still adds to, the newest: about as many as there are lengths that do not mix."""

RATIO_WEIGHT = 0.3
"""Weight of the newest measurement in a device's ratio."""
RATIO_LIMIT = 8.0
"""A ratio stays between its inverse and this."""
SAMPLE_LIMIT = 4.0
"""One measurement counts for at most this: a single hiccup is not a slow device."""
RATIO_HALF_LIFE_SECONDS = 60.0
"""Without new measurements, half of what was learned is forgotten in this time: a device that was slow gets another
chance."""


def default_estimate(
    threshold_seconds: float = DEFAULT_THRESHOLD_SECONDS, *, cpu_once: float = 0.0, cpu_lanes: int = 1
) -> Estimate:
    """Times to begin with on a machine that has not been measured.

    A CPU computes 12 seconds of audio a second. A GPU computes 300, whole batches at once, after a delay that makes it
    as slow as the CPU at `threshold_seconds`. Only the ratios matter for the choice, and each device's figures are
    corrected by what its runs really take.

    Args:
        cpu_once: share of a piece's time on the CPU that a batch takes once, however many pieces it has.
        cpu_lanes: groups of a batch that the CPU computes side by side.
    """
    piece, second = 0.02, 1 / 12
    gpu_piece, gpu_second = 0.001, 1 / 300
    saved = piece - gpu_piece + threshold_seconds * (second - gpu_second)
    delay = max(0.002, saved) if threshold_seconds > 0 else 0.002

    def estimate(device: Device, seconds: float, count: int) -> float:
        if device == "cuda":
            return delay + count * (gpu_piece + seconds * gpu_second)
        side_by_side = len(groups([1] * count, cpu_lanes))
        in_one = math.ceil(count / side_by_side)
        company = LANES_SHARE if side_by_side > 1 else 1.0
        return company * (cpu_once + in_one * (1 - cpu_once)) * (piece + seconds * second)

    return estimate


def limits_for(cpu_lanes: int) -> Mapping[Device, BatchLimits]:
    """The usual limits, for each of the CPU's lanes."""
    cpu = DEFAULT_LIMITS["cpu"]
    return {**DEFAULT_LIMITS, "cpu": BatchLimits(cpu_lanes * cpu.pieces, cpu_lanes * cpu.seconds)}


@dataclass(frozen=True, slots=True)
class Speed:
    """How a device's real times compare with the predicted ones."""

    ratio: float = 1.0
    """Real over predicted seconds, a running geometric mean."""
    measured: float = 0.0
    """When the last measurement came."""

    def at(self, now: float) -> float:
        """The ratio as it counts now: what was learned long ago counts less."""
        age = max(0.0, now - self.measured)
        return math.exp(math.log(self.ratio) * 0.5 ** (age / RATIO_HALF_LIFE_SECONDS))

    def after(self, predicted: float, real: float, now: float) -> Speed:
        """With one more measurement.

        Args:
            predicted: by the estimate alone, not corrected.
        """
        old = self.at(now)
        sample = max(real, 1e-6) / max(predicted, 1e-6)
        sample = min(max(sample, old / SAMPLE_LIMIT), old * SAMPLE_LIMIT)
        ratio = math.exp((1 - RATIO_WEIGHT) * math.log(old) + RATIO_WEIGHT * math.log(sample))
        return Speed(min(max(ratio, 1 / RATIO_LIMIT), RATIO_LIMIT), now)


def remaining_seconds(predicted: float, elapsed: float) -> float:
    """How long something will still run. What is overdue is expected to take as long again as it is late."""
    return abs(predicted - elapsed)


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device at one moment."""

    device: Device
    healthy: bool = True
    """It works as far as is known, or its time to be tried again has come."""
    free_in: float = 0.0
    """Predicted seconds until it can begin: what runs there, or the opening of its engine."""
    ratio: float = 1.0
    """Real over predicted seconds."""
    open: bool = True
    """Its engine is open."""


def candidates(
    seconds: float,
    devices: Sequence[DeviceState],
    *,
    tried: Collection[Device] = (),
    threshold_seconds: float | None = None,
    deciding: Device | None = None,
) -> list[DeviceState]:
    """Devices that may compute a piece of this length. Empty when all have been tried.

    Health comes first, and an unhealthy device before none at all: it may have recovered, and the piece must be
    answered. With a threshold only the length decides among healthy devices: the GPU from there on, the CPU below. One
    that is still to be opened is not waited for where another is open.

    Args:
        deciding: the device that asks, and opens its engine if that would be of use.
    """
    untried = [state for state in devices if state.device not in tried]
    able = [state for state in untried if state.healthy] or untried
    if threshold_seconds is None:
        return able
    preferred: Device = "cuda" if seconds >= threshold_seconds else "cpu"
    anybody_open = any(state.open for state in able)
    return [
        state
        for state in able
        if state.device == preferred and (state.open or state.device == deciding or not anybody_open)
    ] or able


@dataclass(slots=True)
class Timeline(Generic[P]):
    """What one device is to do, batch after batch."""

    state: DeviceState
    estimate: Estimate
    limits: BatchLimits
    batches: list[Batch[P]] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)
    """When each is predicted to be computed, seconds from now."""

    def time(self, seconds: float, count: int) -> float:
        """Predicted seconds of a batch here."""
        return self.state.ratio * self.estimate(self.state.device, seconds, count)

    def offer(self, piece: P) -> tuple[float, int, float]:
        """When this device would have computed the piece: seconds from now, the index of the batch that it would be
        in (one past the last for one of its own), and the predicted seconds of that batch."""
        for index in range(max(0, len(self.batches) - OPEN_BATCHES), len(self.batches)):
            batch = self.batches[index]
            predicted = joined(batch, piece, self.time, self.limits)
            if predicted is not None:
                return self._ends[index] - batch.predicted + predicted, index, predicted
        predicted = self.time(piece.seconds, 1)
        return (
            (self._ends[-1] if self._ends else self.state.free_in) + predicted,
            len(self.batches),
            predicted,
        )

    @property
    def settled(self) -> bool:
        """The next batch is as large as it gets."""
        return bool(self.batches) and not takes_more(self.batches[0], self.time, self.limits)

    def place(self, piece: P, index: int, predicted: float) -> None:
        """Do as offered."""
        if index == len(self.batches):
            self._ends.append((self._ends[-1] if self._ends else self.state.free_in) + predicted)
            self.batches.append(Batch([piece], predicted))
            return
        later = predicted - self.batches[index].predicted
        self._ends[index:] = [end + later for end in self._ends[index:]]
        self.batches[index].add(piece, predicted)


@dataclass(frozen=True, slots=True)
class Plan(Generic[P]):
    """Who does what next."""

    batches: Mapping[Device, list[Batch[P]]]
    """Of each device, in the order in which it should compute them."""
    too_late: list[P]
    """Interims that would be answered too late to be of use."""


def plan(
    pieces: Iterable[P],
    devices: Sequence[DeviceState],
    estimate: Estimate,
    *,
    now: float,
    limits: Mapping[Device, BatchLimits] = DEFAULT_LIMITS,
    threshold_seconds: float | None = None,
    deciding: Device | None = None,
) -> Plan[P]:
    """Give each piece in turn to the device that is predicted to have it computed first.

    Finals come before interims, and older ones first. A piece that finishes earliest on a busy device waits for it,
    even if another is idle. The plan is made anew whenever something changes; only its beginnings are carried out.

    Args:
        pieces: those that wait. Each has a device that it was not tried on.
        deciding: plan only until the next batch of this device is settled, and not what comes after that.
    """
    timelines: dict[Device, Timeline[P]] = {
        state.device: Timeline(state, estimate, limits[state.device]) for state in devices
    }
    too_late: list[P] = []
    in_turn = sorted(pieces, key=lambda piece: (not piece.final, piece.since))
    for count, piece in enumerate(in_turn):
        if count >= HORIZON:
            if not piece.final:
                too_late.append(piece)
            continue
        able = candidates(
            piece.seconds,
            devices,
            tried=piece.tried,
            threshold_seconds=threshold_seconds,
            deciding=deciding,
        )
        offers = [(timelines[state.device], timelines[state.device].offer(piece)) for state in able]
        timeline, (finish, index, predicted) = min(offers, key=lambda offer: offer[1][0])
        if not piece.final and now - piece.submitted + finish > INTERIM_USEFUL_SECONDS:
            too_late.append(piece)
        else:
            timeline.place(piece, index, predicted)
            if timeline.state.device == deciding and timeline.settled:
                break
    return Plan({device: timeline.batches for device, timeline in timelines.items()}, too_late)
