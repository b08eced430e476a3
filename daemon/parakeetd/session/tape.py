"""The part of a stream's audio that may still be needed."""

from __future__ import annotations

import numpy as np

from parakeetd.audio import Samples


class Tape:
    """Samples `start` to `end` of a stream: appended at one end, dropped at the other, moved only now and then."""

    def __init__(self) -> None:
        self._buffer: Samples = np.empty(4096, np.float32)
        self._first = 0
        """Index in the buffer of sample `start`."""
        self.start = 0
        """First sample still held, counted from the beginning of the stream."""
        self.end = 0
        """One past the last sample of the stream so far."""

    def append(self, samples: Samples) -> None:
        held = self.end - self.start
        if self._first + held + len(samples) > len(self._buffer):
            # Twice what is needed: the next move comes only after as many new samples again.
            moved = np.empty(max(4096, 2 * (held + len(samples))), np.float32)
            moved[:held] = self._buffer[self._first : self._first + held]
            self._buffer, self._first = moved, 0
        at = self._first + held
        self._buffer[at : at + len(samples)] = samples
        self.end += len(samples)

    def drop_before(self, sample: int) -> None:
        """Forget what comes before this sample of the stream."""
        dropped = min(max(0, sample - self.start), self.end - self.start)
        self.start += dropped
        self._first += dropped

    def view(self, start: int, end: int) -> Samples:
        """Samples `start` to `end` as far as they are held; valid until the next `append`."""
        first, last = max(start, self.start), min(end, self.end)
        offset = self._first - self.start
        return self._buffer[first + offset : max(first, last) + offset]
