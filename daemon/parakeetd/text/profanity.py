"""The profanity filter: a listed word keeps its first letter, the others become stars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parakeetd.text.casing import core


@dataclass(frozen=True, slots=True)
class WordList:
    """Words that are starred out."""

    words: frozenset[str] = frozenset()
    """Case-folded."""
    stems: tuple[str, ...] = ()
    """Case-folded beginnings: any word that begins so is starred out."""

    @classmethod
    def of(cls, entries: Iterable[str]) -> WordList:
        """From entries as a file has them: a word, or the beginning of words with a `*` after it."""
        folded = [entry.casefold() for entry in entries]
        return cls(
            frozenset(entry for entry in folded if not entry.endswith("*")),
            tuple(entry[:-1] for entry in folded if entry.endswith("*")),
        )

    def __contains__(self, word: str) -> bool:
        folded = word.casefold()
        return folded in self.words or (bool(self.stems) and folded.startswith(self.stems))

    def starred(self, text: str) -> str:
        """A word with the marks around it, starred out if it is listed."""
        start, end = core(text)
        if start == end or text[start:end] not in self:
            return text
        return text[: start + 1] + "*" * (end - start - 1) + text[end:]
