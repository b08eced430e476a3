"""A batch on several cores at once, for models whose operators are too short to be shared by threads: groups of its
pieces side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LEAST: Final = 2
"""Pieces of a group. Two together take three quarters of the processor time of two alone, which the other programs of a
busy machine would miss."""


def groups(lengths: Sequence[int], lanes: int) -> list[list[int]]:
    """Indices of pieces of these lengths, in at most so many groups of as many pieces and of like lengths each: those
    of a group are padded to its longest."""
    count = max(1, min(lanes, len(lengths) // LEAST))
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    ends = [len(lengths) * (group + 1) // count for group in range(count)]
    return [by_length[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


class Lanes:
    """Threads that compute groups of a batch, one each."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count, "parakeetd-lane") if count > 1 else None

    def map(
        self, compute: Callable[[Sequence[T]], Sequence[R]], pieces: Sequence[T], lengths: Sequence[int]
    ) -> list[R]:
        """What `compute` answers for groups of these pieces, in the order of the pieces."""
        if self._threads is None or len(pieces) < 2 * LEAST:
            return list(compute(pieces)) if pieces else []
        places = groups(lengths, self.count)
        computed = self._threads.map(compute, [[pieces[i] for i in group] for group in places])
        answers = {
            i: answer
            for group, answered in zip(places, computed, strict=True)
            for i, answer in zip(group, answered, strict=True)
        }
        return [answers[i] for i in range(len(pieces))]
