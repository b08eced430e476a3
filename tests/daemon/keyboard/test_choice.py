from __future__ import annotations

import pytest

from parakeetd.keyboard.choice import Session, applied, order, strokes


@pytest.mark.parametrize(
    ("session", "ways"),
    [
        (Session(wayland=True), ("wtype", "ydotool", "clipboard")),
        (Session(wayland=True, x11=True), ("wtype", "ydotool", "clipboard")),
        (Session(x11=True), ("xdotool", "ydotool", "clipboard")),
        (Session(), ("ydotool",)),
    ],
)
def test_the_kind_of_desktop_decides_what_is_tried_first(session: Session, ways: tuple[str, ...]) -> None:
    assert order(session) == ways


def test_backspaces_are_strokes_of_their_own_and_keep_their_place() -> None:
    assert list(strokes("\b\bone\btwo")) == [(2, ""), (0, "one"), (1, ""), (0, "two")]


def test_control_characters_are_no_strokes_but_lines_and_tabs_are() -> None:
    assert list(strokes("a\x1b[A\x03\nb\tc")) == [(0, "a[A\nb\tc")]
    assert list(strokes("\x03")) == []


def test_a_text_follows_the_finals() -> None:
    text = ""
    for added in ("one two", " three", "\b\b\b\b\b\b", ", four"):
        text = applied(text, added)
    assert text == "one two, four"
    assert applied("a", "\b\b\bb") == "b"
