"""Words of overlapping pieces of audio, merged by their times. Pure functions.

Times of the same word in two hypotheses differ by an encoder frame or two, so a word is told from its neighbours by its
middle, and the same word by its text too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from parakeetd.model.transcript import Transcript, Word

SAME_WORD_SECONDS = 0.3
"""Starts of one word in two hypotheses are not farther apart."""

JITTER_SECONDS = 0.16
"""So far apart may two hypotheses place a word: two encoder frames."""


def middle(word: Word) -> float:
    return (word.start + word.end) / 2


def same(one: Word, other: Word) -> bool:
    """Whether two hypotheses mean the same word of the audio."""
    return one.text == other.text and abs(one.start - other.start) <= SAME_WORD_SECONDS


def following(said: Sequence[Word], words: Sequence[Word]) -> tuple[Word, ...]:
    """Those of `words` that come after what was said, none of them twice.

    Args:
        said: words of an earlier hypothesis in the order of time; only the last ones matter.
        words: of a hypothesis whose audio begins before the end of these; times of the same stream.
    """
    if not said:
        return tuple(words)
    last = said[-1]
    again = [i for i, word in enumerate(words) if same(word, last)]
    if again:
        # The last word itself: what follows it is new, whatever its times. Said twice, it is the nearer one.
        at = min(again, key=lambda i: abs(words[i].start - last.start))
        new = words[at + 1 :]
        # Unless it lies inside: then one hypothesis has two words where the other has one, and that has been said.
        new = [word for word in new if word.end > last.end]
    else:
        new = [word for word in words if middle(word) > last.end]
    return tuple(replace(word, start=max(word.start, last.end), end=max(word.end, last.end)) for word in new)


def bridged(said: Sequence[Word], beyond: Sequence[Word], new: Sequence[Word]) -> tuple[Word, ...]:
    """The words after a cut, with those that only the part before it has.

    Args:
        said: words of the part before, up to the cut.
        beyond: what it heard after them. Its very last word may be half of one, and does not count.
        new: what the part after the cut says after `said`.
    """
    at = said[-1].end if said else -math.inf
    first = new[0] if new else None
    missing = []
    for word in beyond[:-1]:
        if first is not None and (word.end > first.start or same(word, first)):
            break
        if middle(word) > at:
            missing.append(replace(word, start=max(word.start, at)))
            at = word.end
    return (*missing, *new)


def before(seam: float, words: Sequence[Word]) -> tuple[Word, ...]:
    """The words up to a cut, those whose middle lies before it."""
    kept = list(words)
    while kept and middle(kept[-1]) >= seam:
        kept.pop()
    return tuple(kept)


def transcript_of(words: Sequence[Word]) -> Transcript:
    """These words as a transcript: one space between them, no tokens; its confidence is their geometric mean."""
    if not words:
        return Transcript()
    logs = [math.log(max(word.confidence, 1e-9)) for word in words]
    return Transcript(
        " ".join(word.text for word in words), tuple(words), confidence=math.exp(sum(logs) / len(logs))
    )


class Seams:
    """Takes the transcripts of a stream's final segments in order, and gives each word of an overlap to one of them."""

    def __init__(self) -> None:
        self._said: tuple[Word, ...] = ()
        """Words of the segment before, when the next one overlaps it."""
        self._beyond: tuple[Word, ...] = ()
        """What it heard of the next one."""

    def take(
        self, transcript: Transcript, *, seam_before: float | None, seam_after: float | None
    ) -> Transcript:
        """What belongs to this segment alone.

        Args:
            transcript: with times of the stream.
            seam_before: where the segment was cut off from the one before; None when it was not.
            seam_after: likewise from the one after.
        """
        words = transcript.words
        if seam_before is not None:
            words = bridged(self._said, self._beyond, self.left(words, seam_before))
        heard = words
        if seam_after is not None:
            words = before(seam_after, words)
        self._said = (*self._said, *words)[-KEPT_WORDS:] if seam_after is not None else ()
        self._beyond = heard[len(words) :] if seam_after is not None else ()
        return transcript if words == transcript.words else transcript_of(words)

    def left(self, words: Sequence[Word], seam_before: float | None) -> tuple[Word, ...]:
        """Those of a segment's words that the segment before did not have."""
        if seam_before is None:
            return tuple(words)
        if self._said:
            return following(self._said, words)
        return tuple(word for word in words if middle(word) >= seam_before - JITTER_SECONDS)


KEPT_WORDS = 8
"""Of a segment, for its seam with the next: an overlap of a second holds fewer."""
