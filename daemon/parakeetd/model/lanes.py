"""A batch on several cores at once, for models whose operators are too short to be shared by threads: groups of its
pieces side by side."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LEAST: Final = 2
"""Pieces of a group. Two pieces in two groups take a sixth less time than in one and a third more processor time, which
other programs would miss."""


def groups(lengths: Sequence[int], lanes: int) -> list[list[int]]:
    """Indices of pieces of these lengths, in at most so many groups of as many pieces and of like lengths each: those
    of a group are padded to its longest."""
    count = max(1, min(lanes, len(lengths) // LEAST))
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    ends = [len(lengths) * (group + 1) // count for group in range(count)]
    return [by_length[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


class Lanes:
    """Threads that compute groups of a batch, one each. They end when nobody has the lanes any more."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        if count == 1:
            return
        for number in range(count):
            # Not those of an executor, which a program waits for before it ends: one may hang in a device.
            threading.Thread(
                target=_compute, args=(self._groups,), name=f"parakeetd-lane-{number}", daemon=True
            ).start()
        weakref.finalize(self, _end, self._groups, count)

    def map(
        self, compute: Callable[[Sequence[T]], R], pieces: Sequence[T], lengths: Sequence[int]
    ) -> list[tuple[list[int], R]]:
        """Indices of the pieces of each group, and what `compute` answers for them.

        Raises:
            Exception: what `compute` raised. Other groups may still be under way.
        """
        places = groups(lengths, self.count)
        if len(places) == 1:
            return [(places[0], compute([pieces[i] for i in places[0]]))] if pieces else []
        under_way: list[Future[R]] = [Future() for _ in places]
        for group, future in zip(places, under_way, strict=True):
            self._groups.put((partial(compute, [pieces[i] for i in group]), future))
        return [(group, future.result()) for group, future in zip(places, under_way, strict=True)]


_Group = tuple[Callable[[], Any], Future[Any]]


def _compute(waiting: queue.SimpleQueue[_Group | None]) -> None:
    while (group := waiting.get()) is not None:
        compute, future = group
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)
        # Whoever waits for the next group must not keep what computed this one.
        del group, compute, future


def _end(waiting: queue.SimpleQueue[_Group | None], count: int) -> None:
    for _ in range(count):
        waiting.put(None)
