"""Which words of the open segment are settled, and from where it must be heard again. Pure decisions.

An interim hypothesis is made of the last seconds of an open segment. Its words are merged with what earlier ones left:

- *Stable* words come first. Several hypotheses in a row agreed on them, they are confident, and some audio came after
  them. They are never taken back by a later interim.
- *Kept* words may follow. They are too far back to be heard again, so they stay as well, but nobody vouches for them.
- The *tail* is what the newest hypothesis says after these; all of it may change.
"""

from __future__ import annotations

from dataclasses import dataclass

from parakeetd.model.transcript import Word
from parakeetd.session.words import following, same

AGREEING = 3
"""Hypotheses in a row."""
CONFIDENT = 0.9
"""Confidence of a stable word in each of them. Measured: of words on which three hypotheses agree, final results change
3 in 100; of those that are this confident, less than 1."""
HEARD_AFTER_SECONDS = 0.6
"""Audio after a stable word."""

LONGEST_WINDOW_SECONDS = 6.0
"""An open segment is heard again from its beginning until it is longer than this."""
TAIL_SECONDS = 2.0
"""What is heard again then: words that ended within this time,"""
CONTEXT_SECONDS = 2.0
"""and so much before them."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What is known of an open segment."""

    words: tuple[Word, ...] = ()
    stable: int = 0
    """The first so many are stable."""

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def stability(self) -> float:
        """The stable share of the words, at most 0.99: all of it may still be told apart from a final."""
        return min(self.stable / len(self.words), 0.99) if self.words else 0.0


class Agreement:
    """The words of one open segment. Hypotheses come in the order of their audio."""

    def __init__(self, start: float) -> None:
        """
        Args:
            start: of the segment, in seconds of the stream.
        """
        self.start = start
        self.window_start = start
        """From where the next hypothesis is to be made."""
        self._kept: tuple[Word, ...] = ()
        self._stable = 0
        self._last: list[tuple[Word, ...]] = []

    def add(self, words: tuple[Word, ...], heard_until: float) -> Hypothesis:
        """Take a hypothesis of the audio from a `window_start`, this one's or an earlier one.

        Args:
            words: with times of the stream.
            heard_until: end of its audio, in seconds of the stream.
        """
        self._last = [*self._last, words][-AGREEING:]
        tails = [following(self._kept, hypothesis) for hypothesis in self._last]
        if len(tails) == AGREEING and self._stable == len(self._kept):
            settled = _settled(tails, heard_until - HEARD_AFTER_SECONDS)
            self._kept += tails[-1][:settled]
            self._stable += settled
            tails[-1] = tails[-1][settled:]
        if heard_until - self.window_start > LONGEST_WINDOW_SECONDS:
            tails[-1] = self._keep_before(heard_until - TAIL_SECONDS, tails[-1])
        return Hypothesis(self._kept + tails[-1], self._stable)

    def _keep_before(self, moment: float, tail: tuple[Word, ...]) -> tuple[Word, ...]:
        """Keep the words that ended before a moment, move the window; answer what is left of the tail."""
        old = 0
        while old < len(tail) and tail[old].end <= moment:
            old += 1
        self._kept += tail[:old]
        until = min(moment, tail[old].start) if old < len(tail) else moment
        wanted = until - CONTEXT_SECONDS
        # Not in the middle of a word, if it can be helped: half a word is heard as another one.
        begins = (word.start for word in reversed(self._kept) if word.start <= wanted < word.end)
        self.window_start = max(self.window_start, next(begins, wanted))
        return tail[old:]


def _settled(tails: list[tuple[Word, ...]], moment: float) -> int:
    """How many words at the beginning all tails have in common, all confident and over before a moment."""
    count = 0
    for words in zip(*tails, strict=False):
        newest = words[-1]
        if not all(same(word, newest) and word.confidence >= CONFIDENT for word in words):
            break
        if newest.end > moment:
            break
        count += 1
    return count
