"""What recognition answers: tokens, words, text."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Token:
    """One emitted token of a greedy TDT hypothesis."""

    id: int
    frame: int
    """Encoder frame at which it was emitted."""
    duration: int
    """Encoder frames the decoder then advanced."""
    confidence: float
    """Softmax probability among all tokens and blank, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start: float
    """Seconds from the beginning of the audio."""
    end: float
    """Seconds from the beginning of the audio, not before `start`."""
    confidence: float
    """Geometric mean of its tokens' confidences, 0 to 1."""

    def shifted(self, seconds: float) -> Word:
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True, slots=True)
class Transcript:
    """The recognised content of one piece of audio. Empty text means that nothing was said."""

    text: str = ""
    words: tuple[Word, ...] = ()
    tokens: tuple[Token, ...] = ()
    confidence: float = 0.0
    """Geometric mean of all tokens' confidences, 0 to 1; 0 when there are none."""

    def shifted(self, seconds: float) -> Transcript:
        """The same words with times counted from `seconds` earlier."""
        return replace(self, words=tuple(word.shifted(seconds) for word in self.words))
