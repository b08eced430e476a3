"""Letters and marks of single words. Pure functions on text."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

SENTENCE_ENDS: Final = ".?!…"

_ABBREVIATION: Final = re.compile(r"(\w\.){2,}$")
"""Such as `U.S.` or `z.B.`: its points are part of it."""


def core(text: str) -> tuple[int, int]:
    """Where a word without the marks around it begins and ends; an empty range when there are only marks."""
    start, end = 0, len(text)
    while start < end and not _is_letter(text[start]):
        start += 1
    while start < end and not _is_letter(text[end - 1]):
        end -= 1
    return start, end


def plain(text: str) -> str:
    """A word as it is looked up: without marks around it and without case."""
    start, end = core(text)
    return text[start:end].casefold().replace("\u2019", "'")


def without_marks(text: str) -> str:
    """A word without the punctuation around it; signs such as % and $ stay."""
    if _ABBREVIATION.search(text):
        return text
    start, end = 0, len(text)
    while start < end and _is_punctuation(text[start]):
        start += 1
    while start < end and _is_punctuation(text[end - 1]):
        end -= 1
    return text[start:end]


def without_closing_marks(text: str, marks: str = ".,;:?!…") -> str:
    """A word without these marks at its end."""
    return text if _ABBREVIATION.search(text) else text.rstrip(marks)


def ends_sentence(text: str) -> bool:
    """Whether a word carries the mark that ends a sentence, perhaps inside quotes or brackets."""
    if _ABBREVIATION.search(text):
        return False
    return text.rstrip("\"'”\u2019»“)]").endswith(tuple(SENTENCE_ENDS))


def capitalised(text: str) -> str:
    """With its first letter upper-case; unchanged if it begins with a digit."""
    start, _ = core(text)
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def lowered(text: str) -> str:
    """The beginning of a sentence written as inside one: its first letter lower-case, unless the word says that it is
    upper-case anyway (I, I'm, NATO, McCoy, A4). Names and German nouns cannot be told apart and lose their capital."""
    start, end = core(text)
    word = text[start:end]
    if not word[:1].isupper() or word == "I" or word.startswith(("I'", "I\u2019")):
        return text
    if any(character.isupper() or character.isdigit() for character in word[1:]):
        return text
    return text[:start] + word[0].lower() + text[start + 1 :]


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] == "P" and character not in "%&@#*/\\"
