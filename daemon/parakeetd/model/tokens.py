"""Tokens to text and words.

The vocabularies are SentencePiece's: a piece that begins with "▁" begins a word. A punctuation mark by itself belongs
to the word before it, in the text and in time, as in NeMo: decoders emit marks late, after the pause that they stand
for. Marks that open something are the exception, which NeMo does not make: "¿" belongs to what follows.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from parakeetd.errors import BundleError
from parakeetd.model.transcript import Token, Transcript, Word

BLANK = "<blk>"
WORD_START = "▁"

SENTENCE_ENDS = ".?!"
"""A vocabulary with one of these belongs to a model that writes punctuation."""

_SPECIAL = re.compile(r"<.*>$|\[.*\]$")

_OPENING = "¿¡"
"""Marks that open something and that Unicode does not class as such."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces by token id; blank comes after them and has no piece."""

    pieces: tuple[str, ...]
    marks: frozenset[str] = field(init=False, repr=False, compare=False)
    """Punctuation characters in the pieces that are written against the word before them."""

    def __post_init__(self) -> None:
        ordinary = (p for p in self.pieces if not is_special(p) and not p.startswith(WORD_START))
        marks = {character for piece in ordinary for character in piece if _closes(character)}
        object.__setattr__(self, "marks", frozenset(marks))

    @property
    def blank(self) -> int:
        return len(self.pieces)

    @property
    def has_punctuation(self) -> bool:
        """Whether the model can end a sentence."""
        return any(mark in self.marks for mark in SENTENCE_ENDS)

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read `tokens.txt`: one `piece id` per line, ids from 0, the last line `<blk>`.

        Raises:
            BundleError: the file cannot be read or a line is not what it must be; the message has its number.
        """
        try:
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(path.parent, f"{path.name} cannot be read: {error}") from error
        pieces = []
        for number, line in enumerate(lines):
            piece, _, token_id = line.rpartition(" ")
            if not piece or token_id != str(number):
                raise BundleError(
                    path.parent, f"{path.name} line {number + 1} is not 'piece {number}': {line!r}"
                )
            pieces.append(piece)
        if pieces[-1] != BLANK:
            raise BundleError(path.parent, f"{path.name} does not end in {BLANK}")
        return cls(tuple(pieces[:-1]))

    def text(self, ids: Iterable[int]) -> str:
        """The text of a sequence of token ids, as SentencePiece decodes it."""
        return "".join(self.pieces[i] for i in ids).replace(WORD_START, " ").lstrip(" ")


def transcript(
    tokens: Sequence[Token], vocabulary: Vocabulary, *, frame_seconds: float, audio_seconds: float
) -> Transcript:
    """Text and words of a hypothesis, with times inside the audio.

    A word starts at its first token's frame and ends where its last token's duration does, but not after the next
    word's start: durations are steps of the decoder, not lengths of sounds. Punctuation marks take no time.
    """
    text = _marks_joined(vocabulary.text(token.id for token in tokens), vocabulary.marks)
    if not text.strip():
        return Transcript()
    groups = _groups(tokens, vocabulary)
    words: list[Word] = []
    for i, group in enumerate(groups):
        word = _marks_joined(vocabulary.text(token.id for token in group).strip(), vocabulary.marks)
        if not word:
            continue
        sounds = [token for token in group if not _is_silent(token, vocabulary)] or group
        end_frame = sounds[-1].frame + max(1, sounds[-1].duration)
        if i + 1 < len(groups):
            end_frame = max(sounds[-1].frame, min(end_frame, groups[i + 1][0].frame))
        start = min(group[0].frame * frame_seconds, audio_seconds)
        end = max(start, min(end_frame * frame_seconds, audio_seconds))
        words.append(Word(word, round(start, 3), round(end, 3), _geometric_mean(t.confidence for t in group)))
    return Transcript(text, tuple(words), tuple(tokens), _geometric_mean(t.confidence for t in tokens))


def is_special(piece: str) -> bool:
    """Whether a piece stands for something that is not text: `<unk>`, `<|nospeech|>`, a byte."""
    return _SPECIAL.match(piece) is not None


def _groups(tokens: Sequence[Token], vocabulary: Vocabulary) -> list[list[Token]]:
    """Tokens by words. A lone "▁" before a piece without it: the word is what follows."""
    groups: list[list[Token]] = []
    for token in tokens:
        if groups and _is_mark(token, vocabulary):
            if len(groups) > 1 and [vocabulary.pieces[last.id] for last in groups[-1]] == [WORD_START]:
                lone = groups.pop()
                groups[-1] += lone
        elif not groups or vocabulary.pieces[token.id].startswith(WORD_START):
            groups.append([])
        groups[-1].append(token)
    return groups


def _is_mark(token: Token, vocabulary: Vocabulary) -> bool:
    return vocabulary.pieces[token.id].removeprefix(WORD_START) in vocabulary.marks


def _is_silent(token: Token, vocabulary: Vocabulary) -> bool:
    return vocabulary.pieces[token.id] == WORD_START or _is_mark(token, vocabulary)


def _closes(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("P") and category not in ("Ps", "Pi") and character not in _OPENING


def _marks_joined(text: str, marks: frozenset[str]) -> str:
    """Without the space that may stand before a mark: its piece can begin with one."""
    return _space_before(marks).sub(r"\1", text) if marks else text


@lru_cache(maxsize=8)
def _space_before(marks: frozenset[str]) -> re.Pattern[str]:
    return re.compile(rf"\s([{re.escape(''.join(sorted(marks)))}])")


def _geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(max(value, 1e-9)) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else 0.0
