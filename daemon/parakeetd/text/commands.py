"""Spoken commands: which words stand for which text or action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from parakeetd.text.casing import plain

Attach = Literal["previous", "next", "both", "none"]
"""Which neighbours a text is written against, without a space."""

Action = Literal["write", "delete", "literal"]
"""`delete` takes back what was said, `literal` has the command after it written out."""

_CLOSING = ".,;:?!…)]}»”%"
_OPENING = "([{«„“¿¡"


@dataclass(frozen=True, slots=True)
class Command:
    """What a phrase does."""

    action: Action = "write"
    text: str = ""
    """What is written."""
    attach: Attach = "none"

    @property
    def is_break(self) -> bool:
        """Only line breaks and the like."""
        return bool(self.text) and not self.text.strip()


def attach_of(text: str) -> Attach:
    """How a text is written when its table does not say: by its first and last characters."""
    if text.isspace():
        return "both"
    if text[:1] in _CLOSING:
        return "previous"
    return "next" if text[-1:] in _OPENING else "none"


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of one language."""

    phrases: Mapping[tuple[str, ...], Command]
    """By their words, as `plain` writes them."""
    _beginnings: frozenset[tuple[str, ...]] = field(init=False, repr=False)
    _longest: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        beginnings = {phrase[:n] for phrase in self.phrases for n in range(1, len(phrase))}
        object.__setattr__(self, "_beginnings", frozenset(beginnings))
        object.__setattr__(self, "_longest", max(map(len, self.phrases), default=0))

    @classmethod
    def of(cls, phrases: Mapping[str, Command]) -> Commands:
        """From phrases as they are written."""
        return cls({words_of(phrase): command for phrase, command in phrases.items()})

    def at(self, words: Sequence[str], first: int) -> tuple[Command, int] | None:
        """The longest command that begins with word `first`, and how many words it takes.

        Args:
            words: as `plain` writes them.
        """
        for length in range(min(self._longest, len(words) - first), 0, -1):
            if (command := self.phrases.get(tuple(words[first : first + length]))) is not None:
                return command, length
        return None

    def may_begin(self, words: Sequence[str]) -> bool:
        """Whether these words are the beginning of a longer command."""
        return tuple(words) in self._beginnings


def words_of(phrase: str) -> tuple[str, ...]:
    """The words of a phrase, as they are looked up."""
    return tuple(word for word in map(plain, phrase.split()) if word)
