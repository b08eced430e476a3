"""Types with the first way that works, and with the next one where it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parakeetd.errors import TypingError
from parakeetd.keyboard.choice import apart, applied
from parakeetd.keyboard.ways import Way


class Typist:
    def __init__(self, ways: Sequence[Way], tell: Callable[[str], None] = lambda _: None) -> None:
        """
        Args:
            tell: told in a line of what does not work.
        """
        self._all = tuple(ways)
        self._ways = list(ways)
        self._tell = tell
        self._typed = ""
        self._begins = False

    @property
    def way(self) -> Way | None:
        """The one that is used; None when none works."""
        return self._ways[0] if self._ways else None

    async def begin(self) -> None:
        """Find out which ways work.

        Raises:
            TypingError: none does; the message says why of each.
        """
        problems = []
        for way in list(self._ways):
            try:
                await way.check()
            except TypingError as error:
                problems.append(str(error))
                self._ways.remove(way)
            else:
                return
        raise TypingError(f"nothing can type here ({'; '.join(problems) or 'no desktop'})")

    async def type(self, added: str) -> None:
        """Type the text of a final. Where a way fails, those after it are tried for this text; it stays the first.

        Raises:
            TypingError: none worked.
        """
        problems = []
        for way in self._ways:
            # What is pasted stands alone; what is typed comes behind what was typed before, as far as is known here.
            into_window = way.name != "clipboard"
            text = apart(self._typed, added) if self._begins and into_window else added
            try:
                await way.type(text)
            except TypingError as error:
                problems.append(str(error))
                self._tell(str(error))
            else:
                if problems:
                    self._tell(f"this went to: {way.name}")
                if into_window:
                    self._typed, self._begins = applied(self._typed, text), False
                return
        raise TypingError(f"a text could not be typed ({'; '.join(problems) or 'no way works'})")

    def fresh(self) -> None:
        """Another session begins: its first text needs a space before it, where something has been typed."""
        self._begins = True
        for way in self._ways:
            way.fresh()

    async def close(self) -> None:
        """Leave nothing behind."""
        for way in self._all:
            try:
                await way.close()
            except TypingError as error:
                self._tell(str(error))
