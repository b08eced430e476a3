"""Which waiting pieces are computed together: pure decisions."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from parakeetd.model.sessions import Device

PADDING = 1.5
"""Pieces of a batch are padded to its longest, which is at most this many times its shortest."""

PADDING_SECONDS = 0.5
"""Below this difference, padding is too little to matter whatever the ratio."""

GAIN = 0.9
"""A piece joins a batch when that costs at most this share of computing it by itself: figures have noise, and those
already in the batch wait for it."""

COMPANY_SECONDS = 0.004
"""How long a free device lets the oldest piece wait for others to be computed with it."""

MIN_WAIT_SECONDS = 0.0002
"""Less is not worth going to sleep for."""

INTERIM_BATCH_SECONDS = 0.25
"""Interims are not gathered into batches that take longer: a final that comes meanwhile would wait for it."""


@dataclass(slots=True, eq=False)
class Piece:
    """A segment as the decisions see it."""

    seconds: float
    """Length of its audio."""
    final: bool
    submitted: float
    """When it came."""
    stream: Hashable | None = None
    """Whose it is. A newer interim takes the place of an older one of the same stream."""
    since: float = field(init=False)
    """Its place in the order: when it came, or when the interim came whose place it took."""
    tried: set[Device] = field(default_factory=set)
    """Devices that failed on it."""
    alone: bool = False
    """It was in a batch that failed, and is not put into another one."""

    def __post_init__(self) -> None:
        self.since = self.submitted

    @property
    def gone(self) -> bool:
        """Nobody waits for its answer any more."""
        return False


P = TypeVar("P", bound=Piece)

Time = Callable[[float, int], float]
"""Predicted seconds on one device for so many pieces padded to so many seconds."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one device computes at once. The memory of a run grows with its padded seconds."""

    pieces: int
    seconds: float
    """Length of the longest piece times the number of pieces. A piece by itself may be longer."""


@dataclass(slots=True)
class Batch(Generic[P]):
    """Pieces that are to be computed together, all finals or all interims."""

    pieces: list[P]
    predicted: float
    """Seconds that they take."""
    longest: float = field(init=False)
    shortest: float = field(init=False)

    def __post_init__(self) -> None:
        self.longest = max(piece.seconds for piece in self.pieces)
        self.shortest = min(piece.seconds for piece in self.pieces)

    def add(self, piece: P, predicted: float) -> None:
        self.pieces.append(piece)
        self.predicted = predicted
        self.longest = max(self.longest, piece.seconds)
        self.shortest = min(self.shortest, piece.seconds)


def joined(batch: Batch[P], piece: P, time: Time, limits: BatchLimits) -> float | None:
    """Predicted seconds of the batch with this piece in it; None when the piece does not belong there.

    It belongs there when both are finals or both interims, lengths are close, the limits hold and the time per piece
    falls.
    """
    first = batch.pieces[0]
    if piece.alone or first.alone or piece.final != first.final:
        return None
    count = len(batch.pieces) + 1
    longest = max(batch.longest, piece.seconds)
    shortest = min(batch.shortest, piece.seconds)
    if count > limits.pieces or count * longest > limits.seconds:
        return None
    if longest > max(shortest * PADDING, shortest + PADDING_SECONDS):
        return None
    predicted = time(longest, count)
    if predicted > batch.predicted + GAIN * time(piece.seconds, 1):
        return None
    if not piece.final and predicted > max(INTERIM_BATCH_SECONDS, batch.predicted):
        return None
    return predicted


def takes_more(batch: Batch[P], time: Time, limits: BatchLimits) -> bool:
    """Whether one more piece, as long as the longest, could join the batch."""
    count = len(batch.pieces) + 1
    return (
        not batch.pieces[0].alone
        and count <= limits.pieces
        and count * batch.longest <= limits.seconds
        and time(batch.longest, count) <= batch.predicted + GAIN * time(batch.longest, 1)
    )


def company_seconds(
    batch: Batch[P], now: float, *, gap_seconds: float, time: Time, limits: BatchLimits
) -> float:
    """How much longer a free device should wait before it begins with this batch; 0 for not at all.

    It waits when finals come so close together that another is likely within the time, and when that one would cost
    less than half as much in this batch as after it.

    Args:
        gap_seconds: usual time between finals of late.
    """
    first = batch.pieces[0]
    left = COMPANY_SECONDS - (now - min(piece.submitted for piece in batch.pieces))
    if left < MIN_WAIT_SECONDS or gap_seconds > COMPANY_SECONDS or not first.final:
        return 0.0
    pays = time(batch.longest, len(batch.pieces) + 1) - batch.predicted < time(batch.longest, 1) / 2
    return left if pays and takes_more(batch, time, limits) else 0.0
