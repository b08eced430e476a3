"""Which way of typing is tried first, and what is to be typed. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, get_args

WayName = Literal["wtype", "ydotool", "xdotool", "clipboard"]

WAYS: Final[tuple[WayName, ...]] = get_args(WayName)

BACKSPACE: Final = "\b"


@dataclass(frozen=True, slots=True)
class Session:
    """What kind of desktop there is."""

    wayland: bool = False
    x11: bool = False
    """Under Wayland too, for old programs."""


def order(session: Session) -> tuple[WayName, ...]:
    """Ways of typing, those that reach most windows with all signs first."""
    if session.wayland:
        # Not xdotool: it reaches old programs only, and says that all went well.
        return ("wtype", "ydotool", "clipboard")
    if session.x11:
        return ("xdotool", "ydotool", "clipboard")
    return ("ydotool",)


def strokes(added: str) -> Iterator[tuple[int, str]]:
    """What to do for a final: (backspaces, then text), in order. Other control characters than a new line and a tab,
    which would be commands to a window, are left out."""
    for erases, run in groupby(added, lambda sign: sign == BACKSPACE):
        signs = "".join(run)
        if erases:
            yield len(signs), ""
        elif text := "".join(sign for sign in signs if sign in "\n\t" or sign.isprintable()):
            yield 0, text


def applied(text: str, added: str) -> str:
    """A text after a final."""
    for backspaces, more in strokes(added):
        text = text[: max(0, len(text) - backspaces)] + more
    return text


def apart(before: str, added: str) -> str:
    """The first text of a session, with the space that separates it from what was typed before it."""
    touches = before and added and not before[-1].isspace() and not added[0].isspace() and added[0] != "\b"
    return f" {added}" if touches else added
