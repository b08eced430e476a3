"""Signs on spare keys of an X11 keyboard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.errors import TypingError
from parakeetd.keyboard import xmap
from parakeetd.keyboard.xmap import SpareKeys, assigned, needs_key, parts, spare

TABLE = """\
keycode   8 =
keycode   9 = Escape NoSymbol Escape
keycode  93 =
keycode  94 = less greater less greater bar
keycode  97 =
"""


def test_spare_keys_are_those_without_a_sign() -> None:
    assert spare(TABLE) == [93, 97]


def test_signs_that_every_keyboard_has_need_no_key() -> None:
    assert assigned("Hello, world! ~", {}, [93]) == {}


def test_a_sign_keeps_its_key_and_the_least_recently_used_one_gives_it_up() -> None:
    signs = assigned("äö", {}, [1, 2, 3])
    assert signs == {"ä": 1, "ö": 2}
    signs = assigned("ä", signs, [1, 2, 3])
    signs = assigned("üß", signs, [1, 2, 3])
    assert signs == {"ä": 1, "ü": 3, "ß": 2}


@given(st.text("abäöüß😀é", max_size=60), st.integers(1, 5))
def test_pieces_make_up_the_text_and_each_fits(text: str, keys: int) -> None:
    pieces = list(parts(text, keys))
    assert "".join(pieces) == text
    assert all(len(set(filter(needs_key, piece))) <= keys for piece in pieces)


@given(st.lists(st.text("äöüßéè", max_size=3), max_size=20))
def test_all_signs_of_a_piece_are_on_keys_of_their_own_whatever_came_before(texts: list[str]) -> None:
    signs: dict[str, int] = {}
    for text in texts:
        signs = assigned(text, signs, [10, 11, 12])
        assert set(text) <= set(signs)
        assert len(set(signs.values())) == len(signs)
        assert set(signs.values()) <= {10, 11, 12}


class Keyboard:
    """What xmodmap is asked, and what it says."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.changes: list[str] = []
        self.broken = False

    async def run(self, *command: str) -> str:
        if command == ("xmodmap", "-pke"):
            return self.table
        if self.broken:
            raise TypingError("xmodmap: unable to open display")
        self.changes += [word for word in command if word.startswith("keycode")]
        return ""


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Keyboard:
    made = Keyboard(TABLE)
    monkeypatch.setattr(xmap, "run", made.run)
    monkeypatch.setattr(xmap, "SETTLE_SECONDS", 0.0)
    return made


async def test_a_keyboard_without_a_spare_key_leaves_such_signs_to_another_way(keyboard: Keyboard) -> None:
    keyboard.table = "keycode   9 = Escape NoSymbol Escape\n"
    keys = SpareKeys()
    assert await keys.parts("plain") == ["plain"]
    with pytest.raises(TypingError, match="no spare key"):
        await keys.parts("grün")


async def test_signs_that_could_not_be_put_on_keys_are_put_there_the_next_time(keyboard: Keyboard) -> None:
    keys = SpareKeys()
    await keys.parts("ü")
    keyboard.broken = True
    with pytest.raises(TypingError):
        await keys.put("ü")
    keyboard.broken = False
    await keys.put("ü")
    assert keyboard.changes == ["keycode 93 = U00FC U00FC"]
    await keys.give_back()
    assert keyboard.changes[1:] == ["keycode 93 ="]
