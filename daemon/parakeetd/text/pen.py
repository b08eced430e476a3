"""Writes the transcripts of one stream, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from parakeetd.model.transcript import Transcript, Word
from parakeetd.text.casing import ends_sentence, lowered, without_marks
from parakeetd.text.commands import Commands
from parakeetd.text.dictation import Written, dictated
from parakeetd.text.profanity import WordList


@dataclass(frozen=True, slots=True)
class Style:
    """How a stream's text is to be written."""

    punctuation: bool = True
    """False takes out the marks that the model writes, and the capitals that only they bring."""
    commands: Commands | None = None
    """What spoken commands do; None: they are words like others."""
    profanity: WordList | None = None
    """Words to star out; None: none."""


class Pen:
    """Remembers what the finals of one stream have written, so that the next one goes on from there."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self._written = Written()

    @property
    def spaces(self) -> bool:
        """Whether finals begin with the space that is due, so that none is to be put between them."""
        return self.style.commands is not None

    def write(self, transcript: Transcript, *, final: bool) -> Transcript:
        """A transcript in the style. Its words and its text say the same, and the words keep their times.

        With commands, all finals of a stream make up its text when they are joined as they are: each begins with the
        space that is due. One that is all command can be empty. See `dictation` for what each command does.
        Without commands, it is the words with one space between them.

        Args:
            final: an interim leaves no trace.
        """
        style = self.style
        words = transcript.words
        if not style.punctuation:
            words = _without_punctuation(words)
        text = transcript.text if words == transcript.words else _spaced(words)
        if style.commands is not None:
            text, words, written = dictated(words, style.commands, self._written, final=final)
            if final:
                self._written = written
        if style.profanity is not None:
            clean = tuple(replace(word, text=style.profanity.starred(word.text)) for word in words)
            text, words = _replaced(text, words, clean), clean
        return replace(transcript, text=text, words=words)


def _without_punctuation(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """Words without the model's marks; the first of each sentence in lower case, where that can be told."""
    written = []
    begins = True
    for word in words:
        text = without_marks(word.text)
        if text:
            written.append(replace(word, text=lowered(text) if begins else text))
            begins = False
        begins = begins or ends_sentence(word.text)
    return tuple(written)


def _replaced(text: str, words: tuple[Word, ...], by: tuple[Word, ...]) -> str:
    """The text with each of its words replaced by another, the space between them as it is."""
    pieces, at = [], 0
    for old, new in zip(words, by, strict=True):
        found = text.index(old.text, at)
        pieces += [text[at:found], new.text]
        at = found + len(old.text)
    return "".join(pieces) + text[at:]


def _spaced(words: tuple[Word, ...]) -> str:
    return " ".join(word.text for word in words)
