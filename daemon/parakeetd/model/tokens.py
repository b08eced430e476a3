"""Tokens to text and words.

The vocabularies are SentencePiece's: a piece that begins with "▁" begins a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parakeetd.errors import BundleError
from parakeetd.model.transcript import Token, Transcript, Word

BLANK = "<blk>"
WORD_START = "▁"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces by token id; blank comes after them and has no piece."""

    pieces: tuple[str, ...]

    @property
    def blank(self) -> int:
        return len(self.pieces)

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
    word's start: durations are steps of the decoder, not lengths of sounds.
    """
    text = vocabulary.text(token.id for token in tokens)
    if not text.strip():
        return Transcript()
    groups: list[list[Token]] = []
    for token in tokens:
        if not groups or vocabulary.pieces[token.id].startswith(WORD_START):
            groups.append([])
        groups[-1].append(token)
    words: list[Word] = []
    for i, group in enumerate(groups):
        # A lone "▁" before a piece without it: the word is what follows.
        word = vocabulary.text(token.id for token in group).strip()
        if not word:
            continue
        end_frame = group[-1].frame + max(1, group[-1].duration)
        if i + 1 < len(groups):
            end_frame = max(group[-1].frame, min(end_frame, groups[i + 1][0].frame))
        start = min(group[0].frame * frame_seconds, audio_seconds)
        end = max(start, min(end_frame * frame_seconds, audio_seconds))
        words.append(Word(word, round(start, 3), round(end, 3), _geometric_mean(t.confidence for t in group)))
    return Transcript(text, tuple(words), tuple(tokens), _geometric_mean(t.confidence for t in tokens))


def _geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(max(value, 1e-9)) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else 0.0
