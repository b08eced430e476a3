"""The ways of typing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from parakeetd.errors import TypingError
from parakeetd.keyboard.choice import Session, WayName, applied, order, strokes
from parakeetd.keyboard.tools import hand_over, run
from parakeetd.keyboard.xmap import SpareKeys

SETTLE_MS: Final = "50"
"""Time for a window to learn of wtype's keyboard. Without it the first sign is lost."""


class Way(Protocol):
    """Raises TypingError where it does not work."""

    @property
    def name(self) -> WayName: ...

    async def check(self) -> None:
        """Find out whether it works here, without typing anything."""
        ...

    async def type(self, added: str) -> None:
        """Type the text of a final, with its backspaces."""
        ...

    def fresh(self) -> None:
        """What comes next does not belong to what has been typed."""
        ...

    async def close(self) -> None:
        """Leave nothing behind."""
        ...


class Wtype:
    """Wayland's virtual keyboard, which sway, KDE and others have, and GNOME has not."""

    name: Final[WayName] = "wtype"

    async def check(self) -> None:
        # A key that does nothing, released: fails where the compositor has no virtual keyboard.
        await run("wtype", "-p", "Shift_L")

    async def type(self, added: str) -> None:
        for backspaces, text in strokes(added):
            if backspaces:
                await run("wtype", "-s", SETTLE_MS, *(["-k", "BackSpace"] * backspaces))
            else:
                await run("wtype", "-s", SETTLE_MS, "--", text)

    def fresh(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Xdotool:
    """X11's test extension. Signs that the keyboard has not are put on keys that it does not use, before they are
    typed: what xdotool does by itself, one sign at a time, is too fast for many windows."""

    name: Final[WayName] = "xdotool"

    def __init__(self) -> None:
        self._keys = SpareKeys()

    async def check(self) -> None:
        await run("xdotool", "getmouselocation")
        await run("xmodmap", "-pke")

    async def type(self, added: str) -> None:
        for backspaces, text in strokes(added):
            if backspaces:
                keys = ["BackSpace"] * backspaces
                await run("xdotool", "key", "--clearmodifiers", "--delay", "2", *keys)
                continue
            for part in await self._keys.parts(text):
                await self._keys.put(part)
                await run("xdotool", "type", "--clearmodifiers", "--delay", "2", "--", part)

    def fresh(self) -> None:
        pass

    async def close(self) -> None:
        await self._keys.give_back()


class Ydotool:
    """A keyboard of the kernel's, through ydotoold: everywhere, but with the signs of a US keyboard only."""

    name: Final[WayName] = "ydotool"

    def __init__(self) -> None:
        self._backspace: tuple[str, ...] = ("14:1", "14:0")

    async def check(self) -> None:
        try:
            told = await run("ydotool", "help")
        except TypingError as error:
            told = str(error)
        # Before 1.0, which Debian 12 and Ubuntu still have, keys have names: it would type a 1 for each number. Those
        # versions had a recorder.
        if "recorder" in told:
            self._backspace = ("backspace",)
        await run("ydotool", "type", "")

    async def type(self, added: str) -> None:
        if not added.isascii():
            raise TypingError("ydotool types the signs of a US keyboard only")
        for backspaces, text in strokes(added):
            if backspaces:
                await run("ydotool", "key", *(self._backspace * backspaces))
            else:
                await run("ydotool", "type", "--", text)

    def fresh(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Clipboard:
    """For people to paste: all of a session's text."""

    name: Final[WayName] = "clipboard"

    def __init__(self, session: Session) -> None:
        self._copy = ("wl-copy",) if session.wayland else ("xclip", "-selection", "clipboard")
        self._look = ("wl-paste", "--list-types") if session.wayland else ("xclip", "-version")
        self._text = ""

    async def check(self) -> None:
        try:
            await run(*self._look)
        except TypingError as error:
            # An empty clipboard is one too.
            if "Nothing is copied" not in str(error) and "No selection" not in str(error):
                raise

    async def type(self, added: str) -> None:
        self._text = applied(self._text, added)
        await hand_over(*self._copy, stdin=self._text)

    def fresh(self) -> None:
        self._text = ""

    async def close(self) -> None:
        pass


def ways_of(session: Session, names: Sequence[WayName] = ()) -> tuple[Way, ...]:
    """The ways with these names, or those of a desktop, in the order in which they are tried."""
    made: dict[WayName, type[Wtype] | type[Xdotool] | type[Ydotool]] = {
        "wtype": Wtype,
        "xdotool": Xdotool,
        "ydotool": Ydotool,
    }
    wanted = names or order(session)
    return tuple(Clipboard(session) if name == "clipboard" else made[name]() for name in wanted)
