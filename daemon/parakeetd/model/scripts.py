"""The scripts that languages are written in, and the tokens that belong to them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from parakeetd.model.tokens import is_special

LATIN: Final = "LATIN"
CYRILLIC: Final = "CYRILLIC"
GREEK: Final = "GREEK"

MULTI: Final = "multi"
"""What clients send as the language when it may be any."""

_LATIN = """
    af az bs ca ceb cs cy da de en eo es et eu fi fil fo fr fy ga gl ha hr ht hu id ig is it jv kl la lb lt lv mg mi ms
    mt nb nl nn no oc pl pt qu rm ro rw sk sl sm sn so sq st su sv sw tl tn to tr ts tk uz vi wo xh yo zu
    ces dan deu eng est fin fra hrv hun ita lav lit mlt nld nor pol por ron slk slv spa swe
"""
_CYRILLIC = "ab ba be bg ce cv kk kv ky mk mn os ru sah tg tt udm uk rus ukr bul"

_BY_LANGUAGE: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {language: frozenset({LATIN}) for language in _LATIN.split()}
    | {language: frozenset({CYRILLIC}) for language in _CYRILLIC.split()}
    | {language: frozenset({GREEK}) for language in ("el", "ell", "gre")}
    # Written in either.
    | {language: frozenset({LATIN, CYRILLIC}) for language in ("sr", "sh", "srp")}
)
_BY_SUBTAG: Final = MappingProxyType({"latn": LATIN, "cyrl": CYRILLIC, "grek": GREEK})

_HIGH_BYTE = re.compile(r"<0x[89A-Fa-f][0-9A-Fa-f]>$")
_LETTER_NAME = re.compile(
    r"(?:FULLWIDTH )?(.+?) (?:CAPITAL |SMALL )?(?:LETTER|LIGATURE|SYLLABLE|IDEOGRAPH)\b"
)


def scripts_of(language: str) -> frozenset[str]:
    """The scripts that a language is written in, by its BCP-47 tag; empty when none is known.

    A subtag for the script (`sr-Latn`) says it itself.
    """
    primary, *others = language.lower().replace("_", "-").split("-")
    for subtag in others:
        if subtag in _BY_SUBTAG:
            return frozenset({_BY_SUBTAG[subtag]})
    return _BY_LANGUAGE.get(primary, frozenset())


def is_open(language: str) -> bool:
    """Whether this is no choice of a language: empty, or `multi`."""
    return language.strip().lower() in ("", MULTI)


def scripts_in(piece: str) -> frozenset[str]:
    """The scripts of a piece's letters, as Unicode names them. Empty for digits, marks and special tokens.

    The pieces that are one byte of a longer character count as letters of an unknown script.
    """
    if is_special(piece):
        return frozenset({"UNKNOWN"}) if _HIGH_BYTE.match(piece) else frozenset()
    return frozenset(script for character in piece if (script := _script_of(character)) is not None)


def _script_of(letter: str) -> str | None:
    if not unicodedata.category(letter).startswith("L"):
        return None
    named = _LETTER_NAME.match(unicodedata.name(letter, ""))
    # Signs that Unicode counts among the letters (the micro sign, ordinals, apostrophes) are used with all scripts.
    return None if named is None or named[1] == "MODIFIER" else named[1]


def allowed_tokens(pieces: Sequence[str], scripts: frozenset[str]) -> NDArray[np.bool_] | None:
    """Which tokens may be written in these scripts, [V + 1], blank among them; None when that leaves them all.

    Pieces with letters of several scripts are allowed when all are. None, too, when no piece has letters of these
    scripts: the model cannot write them, and without letters it could write nothing.
    """
    used = [scripts_in(piece) for piece in pieces]
    if not any(scripts & letters for letters in used):
        return None
    allowed = np.array([letters <= scripts for letters in used] + [True])
    return None if allowed.all() else allowed
