"""Phrases that a speaker is likely to say: what a caller may ask for, and how a model's own tokens spell them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from parakeetd.errors import PhraseError
from parakeetd.model.tokens import WORD_START, Vocabulary, is_special

MOST_PHRASES: Final = 5000
"""In one list."""

LONGEST_PHRASE: Final = 100
"""Characters."""

USUAL_BOOST: Final = 4.0
"""What 0 stands for, and what Riva's own client sends. It gives the weights that are NeMo's defaults."""

STRONGEST_BOOST: Final = 20.0
"""The end of Riva's usual scale. A boost beyond is taken as this one: it is all but certain to be obeyed already."""


class Boost(NamedTuple):
    """A phrase and how much likelier it is to be, on Riva's scale: above 0, to 20."""

    phrase: str
    boost: float = USUAL_BOOST

    @property
    def weight(self) -> float:
        """What the phrase's first token earns, in the units of the model's logits; see `context_tree.token_bonus`."""
        return self.boost / USUAL_BOOST


def read_boosts(wanted: Iterable[tuple[str, float]]) -> tuple[Boost, ...]:
    """The phrases that a caller wants boosted. Empty ones are left out, and of equal ones the strongest counts.

    Args:
        wanted: phrases and their boosts; 0 for the usual one.

    Raises:
        PhraseError: there are too many, one is too long, or a boost is negative or no number.
    """
    boosts: dict[str, float] = {}
    for phrase, boost in wanted:
        if not (phrase := " ".join(phrase.split())):
            continue
        if len(phrase) > LONGEST_PHRASE:
            raise PhraseError(
                f"the phrase {phrase[:20]!r}... has {len(phrase)} characters; the most is {LONGEST_PHRASE}"
            )
        if not math.isfinite(boost) or boost < 0:
            raise PhraseError(
                f"the boost of phrase {phrase!r} is {boost:g}; it must be a number from 0 to {STRONGEST_BOOST:g}"
            )
        boosts[phrase] = max(boosts.get(phrase, 0.0), min(boost or USUAL_BOOST, STRONGEST_BOOST))
        if len(boosts) > MOST_PHRASES:
            raise PhraseError(
                f"more phrases are to be boosted than the {MOST_PHRASES} that are taken at once"
            )
    return tuple(Boost(phrase, boost) for phrase, boost in boosts.items())


def parse_boost(text: str) -> tuple[str, float]:
    """`phrase` or `phrase:boost`. What follows the last colon and is no number belongs to the phrase."""
    phrase, colon, boost = text.rpartition(":")
    try:
        return (phrase, float(boost)) if colon and phrase else (text, 0.0)
    except ValueError:
        return text, 0.0


def read_boost_file(path: Path) -> list[tuple[str, float]]:
    """The phrases in a file: one a line, as `parse_boost` reads them. Empty lines and those that begin with # do not
    count.

    Raises:
        PhraseError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PhraseError(f"the phrases in {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PhraseError(f"the phrases in {path} cannot be read: it is not UTF-8") from error
    return [parse_boost(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]


class Speller:
    """Spells phrases with a model's tokens, as its SentencePiece tokenizer does."""

    def __init__(self, tokenizer: Path, vocabulary: Vocabulary, model: str) -> None:
        """
        Args:
            tokenizer: `tokenizer.model` of the bundle.
            model: its name, for messages.

        Raises:
            PhraseError: the file cannot be used.
        """
        # Imported here: it takes 0.1 s that only who boosts phrases should wait.
        import sentencepiece

        self._model = model
        try:
            self._processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
        except (OSError, RuntimeError) as error:
            raise PhraseError(f"model {model} cannot boost phrases: {tokenizer} is damaged") from error
        self._ids = {piece: token for token, piece in enumerate(vocabulary.pieces)}
        texts = (piece for piece in vocabulary.pieces if not is_special(piece))
        self._cased = any(character.isupper() for text in texts for character in text)

    def spell(self, phrase: str) -> tuple[tuple[int, ...], ...]:
        """The token ids of a phrase, [n] each: as it is written and, where the model writes capitals, as it is at the
        beginning of a sentence. A model without capitals gets it in lower case.

        Raises:
            PhraseError: the model has no token for a character; the message names both.
        """
        if not self._cased:
            return (self._tokens(phrase.lower(), phrase),)
        spelled = self._tokens(phrase, phrase)
        capital = phrase[0].upper() + phrase[1:]
        if capital == phrase or self._strange_in(capital) is not None:
            return (spelled,)
        return spelled, self._tokens(capital, phrase)

    def _tokens(self, text: str, phrase: str) -> tuple[int, ...]:
        if (strange := self._strange_in(text)) is not None:
            raise PhraseError(
                f"the phrase {phrase!r} cannot be boosted: model {self._model} has no token for {strange!r}"
            )
        return tuple(self._ids[piece] for piece in self._pieces(text))

    def _strange_in(self, text: str) -> str | None:
        """The first character that no token stands for."""
        for piece in self._pieces(text):
            # What the tokenizer does not know comes back as it is, several characters in one.
            if piece not in self._ids:
                spelled = piece.removeprefix(WORD_START)
                return next((character for character in spelled if character not in self._ids), spelled)
        return None

    def _pieces(self, text: str) -> list[str]:
        return list(self._processor.encode(text, out_type=str))
