"""When the next interim of a stream is due. Pure decisions; times are positions in the stream, in seconds."""

from __future__ import annotations

import math

INTERIM_SECONDS = 0.3
"""New audio in the open segment before its next interim."""
FIRST_SECONDS = 0.06
"""The same until it has text, so that the first word is seen soon: 40 ms sooner at P95 than with 0.1, and 2 % more
interims,"""
FIRST_TRIES = 16
"""as often as this: what has no text after a second may be noise."""
SHARE = 0.5
"""A stream's interims take at most this share of the time: where one takes long, the next one comes later."""


class Pace:
    """Of one stream."""

    def __init__(self) -> None:
        self._at = -math.inf
        """End of the audio of the last interim of the open segment."""
        self._tries = 0
        self._has_text = False
        self._compute_seconds = 0.0

    def due(self, now: float) -> bool:
        """Whether an interim is to be made."""
        first = not self._has_text and self._tries < FIRST_TRIES
        usual = FIRST_SECONDS if first else INTERIM_SECONDS
        return now - self._at >= max(usual, self._compute_seconds / SHARE) - 1e-9

    def made(self, now: float) -> None:
        """One of the audio up to here has been asked for."""
        self._at = now
        self._tries += 1

    def heard(self, has_text: bool, compute_seconds: float) -> None:
        """It has been answered."""
        self._has_text = self._has_text or has_text
        self._compute_seconds = compute_seconds

    def ended(self) -> None:
        """The segment is over."""
        self._at, self._tries, self._has_text = -math.inf, 0, False
