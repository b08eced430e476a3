"""Keys of an X11 keyboard that have no sign, and the signs that are put on them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from parakeetd.errors import TypingError
from parakeetd.keyboard.tools import run

SETTLE_SECONDS: Final = 0.1
"""Time for windows to learn of another keyboard: they ask for it when they are told, between two keys if need be."""


def spare(table: str) -> list[int]:
    """Keycodes without a sign, from what `xmodmap -pke` prints. The first key is no key of any keyboard."""
    rows = (line.replace("=", " ").split() for line in table.splitlines())
    return [int(row[1]) for row in rows if len(row) == 2 and row[0] == "keycode" and int(row[1]) > 8]


def parts(text: str, keys: int) -> Iterator[str]:
    """The text in pieces, none of which has more different signs than there are keys for."""
    begin, signs = 0, set[str]()
    for at, sign in enumerate(text):
        if needs_key(sign) and sign not in signs:
            if len(signs) == keys:
                yield text[begin:at]
                begin, signs = at, set()
            signs.add(sign)
    if text[begin:]:
        yield text[begin:]


def needs_key(sign: str) -> bool:
    """Whether not every keyboard has it."""
    return ord(sign) > 126


def assigned(text: str, now: Mapping[str, int], keys: Sequence[int]) -> dict[str, int]:
    """The signs that are on keys once this text can be typed: its own, and those of before for which there is room.

    Args:
        now: those that are on keys, the least recently used first.
    """
    wanted = [sign for sign in dict.fromkeys(text) if needs_key(sign)]
    kept = {sign: key for sign, key in now.items() if sign not in wanted}
    used = {sign: now[sign] for sign in wanted if sign in now}
    free = [key for key in keys if key not in now.values()]
    for sign in wanted:
        if sign not in used:
            used[sign] = free.pop(0) if free else kept.pop(next(iter(kept)))
    return kept | used


class SpareKeys:
    """Of one display."""

    def __init__(self) -> None:
        self._keys: list[int] | None = None
        self._signs: dict[str, int] = {}
        self._touched: set[int] = set()
        """Keys that may have a sign by now."""

    async def parts(self, text: str) -> list[str]:
        """The text in pieces that fit on the spare keys.

        Raises:
            TypingError: the keyboard cannot be read, or lacks signs and has no spare key.
        """
        if self._keys is None:
            self._keys = spare(await run("xmodmap", "-pke"))
        if not self._keys and any(map(needs_key, text)):
            raise TypingError("xdotool types the signs of this keyboard only: it has no spare key")
        return list(parts(text, max(1, len(self._keys))))

    async def put(self, text: str) -> None:
        """See that all signs of a piece are on the keyboard.

        Raises:
            TypingError: the keyboard cannot be changed.
        """
        signs = assigned(text, self._signs, self._keys or [])
        new = [f"keycode {key} = {_symbol(sign)} {_symbol(sign)}" for sign, key in signs.items()
               if self._signs.get(sign) != key]  # fmt: skip
        if new:
            self._touched.update(signs.values())
            await _change(new)
            await asyncio.sleep(SETTLE_SECONDS)
        self._signs = signs

    async def give_back(self) -> None:
        """Take the signs off the keys again.

        Raises:
            TypingError: the keyboard cannot be changed.
        """
        if self._touched:
            # What was typed last is still being read.
            await asyncio.sleep(SETTLE_SECONDS)
            await _change([f"keycode {key} =" for key in sorted(self._touched)])
        self._signs = {}
        self._touched.clear()


async def _change(rows: Sequence[str]) -> None:
    await run("xmodmap", *(word for row in rows for word in ("-e", row)))


def _symbol(sign: str) -> str:
    return f"U{ord(sign):04X}"
