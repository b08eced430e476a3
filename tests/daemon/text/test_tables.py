"""The files that users edit: what is read, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakeetd.errors import ConfigError
from parakeetd.text import read_tables
from parakeetd.text.commands import Command
from parakeetd.text.tables import SHIPPED_COMMANDS, SHIPPED_PROFANITY


def test_a_users_files_take_the_place_of_the_shipped_ones(tmp_path: Path) -> None:
    table, words = tmp_path / "c.toml", tmp_path / "w.txt"
    table.write_text('[en]\n"Enter!" = "\\n"\n"smile" = { text = ":-)", attach = "none" }\n')
    words.write_text("# mine\nheck*  # any ending\n")
    tables = read_tables(table, words)
    assert dict(tables.commands["en"].phrases) == {
        ("enter",): Command("write", "\n", "both"),
        ("smile",): Command("write", ":-)", "none"),
    }
    assert "heckish" in tables.profanity
    assert "shit" not in tables.profanity


def test_copies_of_the_shipped_files_are_what_is_shipped(tmp_path: Path) -> None:
    table, words = tmp_path / "c.toml", tmp_path / "w.txt"
    table.write_bytes(SHIPPED_COMMANDS.read_bytes())
    words.write_bytes(SHIPPED_PROFANITY.read_bytes())
    assert read_tables(table, words) == read_tables()


@pytest.mark.parametrize(
    ("asked", "spoken", "answers"),
    [
        ("de-DE", ["de-DE", "en-US"], "de"),
        ("de", ["en-US"], "de"),
        ("DE_at", ["en-US"], "de"),
        ("", ["de-DE"], "de"),
        ("multi", ["de-DE", "de-AT"], "de"),
        ("", ["bg", "de", "en"], "en"),
        ("pl-PL", ["pl", "en"], None),
        ("", ["pl"], None),
    ],
)
def test_the_table_is_that_of_the_language_spoken(asked: str, spoken: list[str], answers: str | None) -> None:
    tables = read_tables()
    assert tables.commands_for(asked, spoken) == (tables.commands[answers] if answers else None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[en", "not valid TOML"),
        ('comma = ","', r"comma must be a table"),
        ('[en]\n"..." = "x"', r"\[en\] '...': the phrase has no word"),
        ('[en]\ncomma = ","\n"Comma!" = ";"', r"'Comma!': the phrase is there a second time"),
        ('[en]\na = "b"\n[en-GB]\na = "c"', "language en is there a second time"),
        ("[en]\ncomma = 3", r"\[en\] 'comma' must be a text in quotes"),
        ('[en]\ncomma = ""', "'comma' must be a text"),
        ('[en]\ncomma = { txt = "," }', "unknown key txt; known: text, attach, action"),
        ('[en]\ncomma = { text = ",", attach = "left" }', "attach must be one of previous, next, both, none"),
        ('[en]\ncomma = { action = "explode" }', "action must be one of write, delete, literal"),
        ('[en]\ncomma = { action = "delete", text = "x" }', "either a text or an action"),
        ('[en]\ncomma = { attach = "next" }', "either a text or an action"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_with_the_phrase(
    tmp_path: Path, content: str, problem: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=rf"commands .*mine\.toml: .*{problem}|commands .*{problem}"):
        read_tables(file)


@pytest.mark.parametrize("entry", ["two words", "*", "a*b", "**"])
def test_a_line_of_the_list_that_cannot_be_used_is_named_by_its_number(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(f"good\n{entry}\n")
    with pytest.raises(ConfigError, match=r"mine\.txt: line 2 must be one word"):
        read_tables(None, file)


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"commands .*gone\.toml: cannot be read: No such file"):
        read_tables(tmp_path / "gone.toml")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"profanity list .*bytes\.txt: is not UTF-8"):
        read_tables(None, tmp_path / "bytes.txt")
