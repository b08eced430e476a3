"""Ways of typing that are tried one after the other, with tools that are not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from parakeetd.errors import TypingError
from parakeetd.keyboard import Session, Typist, Way, WayName, ways_of
from parakeetd.keyboard.choice import applied


class Paper:
    """A way that writes on paper, if it works."""

    def __init__(self, name: WayName, *, works: bool = True, ascii_only: bool = False) -> None:
        self.name: WayName = name
        self.works = works
        self.ascii_only = ascii_only
        self.text = ""
        self.closed = False

    async def check(self) -> None:
        if not self.works:
            raise TypingError(f"{self.name} is not installed")

    async def type(self, added: str) -> None:
        await self.check()
        if self.ascii_only and not added.isascii():
            raise TypingError(f"{self.name} types the signs of a US keyboard only")
        self.text = applied(self.text, added)

    def fresh(self) -> None:
        self.text = ""

    async def close(self) -> None:
        self.closed = True


async def test_the_first_way_that_works_is_used() -> None:
    ways = Paper("wtype", works=False), Paper("ydotool"), Paper("clipboard")
    typist = Typist(ways)
    await typist.begin()
    assert typist.way is ways[1]
    await typist.type("one")
    assert [way.text for way in ways] == ["", "one", ""]


async def test_what_a_way_cannot_type_goes_to_the_next_and_is_told() -> None:
    told: list[str] = []
    ways = Paper("ydotool", ascii_only=True), Paper("clipboard")
    typist = Typist(ways, told.append)
    await typist.begin()
    for added in ("one", " zwölf", " two"):
        await typist.type(added)
    assert [way.text for way in ways] == ["one two", " zwölf"]
    assert told == ["ydotool types the signs of a US keyboard only", "this went to: clipboard"]


async def test_where_nothing_works_all_reasons_are_told() -> None:
    typist = Typist((Paper("wtype", works=False), Paper("clipboard", works=False)))
    with pytest.raises(TypingError, match=r"\(wtype is not installed; clipboard is not installed\)"):
        await typist.begin()
    with pytest.raises(TypingError, match="no desktop"):
        await Typist(()).begin()


async def test_a_clipboard_has_the_text_of_one_session() -> None:
    typist = Typist((Paper("clipboard"),))
    await typist.begin()
    await typist.type("one")
    typist.fresh()
    await typist.type("two")
    assert isinstance(typist.way, Paper)
    assert typist.way.text == "two"


class Window(Paper):
    """Keeps what was typed into it before."""

    def fresh(self) -> None:
        pass


async def test_sessions_typed_into_a_window_are_apart() -> None:
    window = Window("wtype")
    typist = Typist((window,))
    await typist.begin()
    for session in (["one", " two"], ["three\n"], ["four"], [" five"]):
        typist.fresh()
        for added in session:
            await typist.type(added)
    assert window.text == "one two three\nfour five"


async def test_what_went_to_the_clipboard_leaves_the_window_as_it_was() -> None:
    window, clipboard = Window("ydotool", ascii_only=True), Paper("clipboard")
    typist = Typist((window, clipboard))
    await typist.begin()
    pasted = []
    for added in ("zwölf", "one", "fünf", "two"):
        typist.fresh()
        await typist.type(added)
        pasted.append(clipboard.text)
    assert window.text == "one two"
    assert pasted == ["zwölf", "", "fünf", ""]


async def test_all_ways_are_closed_in_the_end() -> None:
    ways = Paper("wtype", works=False), Paper("clipboard")
    typist = Typist(ways)
    await typist.begin()
    await typist.close()
    assert all(way.closed for way in ways)


async def test_tools_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    typist = Typist(ways_of(Session(wayland=True)))
    with pytest.raises(
        TypingError, match=r"wtype is not installed; ydotool is not installed; wl-paste is not"
    ):
        await typist.begin()


@pytest.fixture
def ydotool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A ydotool that notes down what it is told, one argument a line."""
    tool, notes = tmp_path / "ydotool", tmp_path / "notes"
    tool.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {notes}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return notes


def test_a_text_that_looks_like_a_flag_is_typed_as_text(ydotool: Path) -> None:
    (way,) = ways_of(Session(), ("ydotool",))
    asyncio.run(way.type("--help\b"))
    assert ydotool.read_text().splitlines() == ["type", "--", "--help", "key", "14:1", "14:0"]


async def test_a_tool_that_fails_says_why(ydotool: Path) -> None:
    (ydotool.parent / "ydotool").write_text("#!/bin/sh\necho no keyboard >&2\nexit 3\n")
    way: Way
    (way,) = ways_of(Session(), ("ydotool",))
    with pytest.raises(TypingError, match=r"^ydotool: no keyboard$"):
        await way.check()
