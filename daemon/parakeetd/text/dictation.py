"""What spoken commands do to the words of a stream. Pure: what was written before comes in, what is written goes out.

- A text is written where it was spoken, against its neighbours as its command says: `yes comma no` is `yes, no`.
- After a command that ends a sentence or a line, the next word begins with a capital. Nothing else changes its case,
  except that a capital that the model wrote after a mark of its own goes with that mark.
- Models that punctuate put marks around spoken ones (`Hello, comma, world`): a spoken mark replaces them.
- `delete` takes back what was said before it in the same utterance. When that is nothing, it takes back the last final:
  a final that was sent cannot be changed, so that the next one begins with as many backspaces (U+0008) as the last
  one had characters. Whoever types the finals, or applies the backspaces, has the text that was meant; saying it
  again takes back the final before. Interims have no backspaces.
- `literal` before a command has its words written out.
- An interim leaves out last words that may become a command with the next ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from parakeetd.model.transcript import Word
from parakeetd.text.casing import (
    SENTENCE_ENDS,
    capitalised,
    ends_sentence,
    lowered,
    plain,
    without_closing_marks,
)
from parakeetd.text.commands import Command, Commands

BACKSPACE = "\b"

MOST_KEPT = 100
"""Finals of a stream that can still be taken back: streams last for hours."""


@dataclass(frozen=True, slots=True)
class _After:
    """What the text so far means for what comes after it."""

    space: bool = False
    """A word is written after a space."""
    capital: bool = False
    """A word is written with a capital."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the finals of a stream have written."""

    after: _After = _After()
    finals: tuple[tuple[int, _After], ...] = ()
    """Of those that can be taken back: characters, and what was due before them."""


def dictated(
    words: Sequence[Word], commands: Commands, before: Written, *, final: bool
) -> tuple[str, tuple[Word, ...], Written]:
    """The text of an utterance, its words, and what has been written after it."""
    sheet = _Sheet(before)
    looked_up = [plain(word.text) for word in words]
    i = 0
    while i < len(words):
        if not final and commands.may_begin(looked_up[i:]):
            break
        found = commands.at(looked_up, i)
        if found is None:
            sheet.word(words[i])
            i += 1
            continue
        command, length = found
        i += length
        spoken = words[i - length : i]
        if command.action == "literal":
            if not final and i == len(words):
                break
            following = commands.at(looked_up, i)
            quoted = spoken if following is None else words[i : i + following[1]]
            for word in quoted:
                sheet.word(word)
            i += 0 if following is None else following[1]
        elif command.action == "delete":
            sheet.delete(spoken, final=final)
        else:
            sheet.write(command, spoken)
    return sheet.text, tuple(sheet.words), sheet.written()


class _Sheet:
    """One utterance while it is written."""

    def __init__(self, before: Written) -> None:
        self._finals = before.finals
        self._begin(before.after)
        self._backspaces: list[Word] = []

    def _begin(self, after: _After) -> None:
        self._due, self._after = after, after
        self._parts: list[str] = []
        self._words: list[Word] = []
        self._models_word = False
        """The last of them is as the model wrote it: a spoken mark may replace the model's."""
        self._lower_next = False

    @property
    def text(self) -> str:
        return "".join([*(word.text for word in self._backspaces), *self._parts])

    @property
    def words(self) -> list[Word]:
        return self._backspaces + self._words

    def written(self) -> Written:
        characters = sum(map(len, self._parts))
        if not characters:
            return Written(self._after, self._finals)
        return Written(self._after, (*self._finals, (characters, self._due))[-MOST_KEPT:])

    def word(self, word: Word) -> None:
        text = word.text
        if self._after.capital:
            text = capitalised(text)
        elif self._lower_next:
            text = lowered(text)
        self._append(replace(word, text=text), space=self._after.space)
        self._after = _After(space=True)
        self._models_word, self._lower_next = True, False

    def write(self, command: Command, spoken: Sequence[Word]) -> None:
        self._lower_next |= self._replace_marks("," if command.is_break else ".,;:?!…")
        self._lower_next |= any(ends_sentence(word.text) for word in spoken)
        to_previous = command.attach in ("previous", "both")
        word = _spanning(command.text, spoken)
        joins = to_previous and not command.is_break and self._words and self._words[-1].text.strip()
        if joins:
            # One word: what is written against it has no times of its own.
            last = self._words[-1]
            self._words[-1] = replace(last, text=last.text + command.text)
            self._parts.append(command.text)
        else:
            self._append(word, space=self._after.space and not to_previous)
        self._after = _After(
            space=command.attach not in ("next", "both"),
            capital=command.text.endswith((*SENTENCE_ENDS, "\n"))
            or (self._after.capital and not plain(command.text)),
        )
        if self._after.capital:
            self._lower_next = False
        self._models_word = False

    def delete(self, spoken: Sequence[Word], *, final: bool) -> None:
        if self._words:
            self._begin(self._due)
        elif self._finals:
            *kept, (characters, due) = self._finals
            self._finals = tuple(kept)
            self._begin(due)
            if final:
                self._backspaces.append(_spanning(BACKSPACE * characters, spoken))

    def _replace_marks(self, marks: str) -> bool:
        """Take these marks of the model's from the last word; True when they ended a sentence."""
        if not (self._models_word and self._words):
            return False
        last = self._words[-1]
        bare = without_closing_marks(last.text, marks)
        taken = last.text[len(bare) :]
        if not taken or not bare:
            return False
        self._words[-1] = replace(last, text=bare)
        self._parts[-1] = self._parts[-1].removesuffix(taken)
        return ends_sentence(last.text)

    def _append(self, word: Word, *, space: bool) -> None:
        if space:
            self._parts.append(" ")
        glued = not space and self._words and not word.text.isspace() and not self._words[-1].text.isspace()
        if glued:
            # Written without a space: "(word", "well-known".
            last = self._words[-1]
            self._words[-1] = _spanning(last.text + word.text, (last, word))
        else:
            self._words.append(word)
        self._parts.append(word.text)


def _spanning(text: str, words: Sequence[Word]) -> Word:
    """One word from the beginning of these to their end, with their geometric mean of confidence."""
    logs = [math.log(max(word.confidence, 1e-9)) for word in words]
    return Word(text, words[0].start, words[-1].end, math.exp(sum(logs) / len(logs)))
