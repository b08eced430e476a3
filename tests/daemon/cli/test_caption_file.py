"""`parakeetd listen --captions FILE`: the file that another program shows."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from parakeetd.cli.caption_file import LETTERS, CaptionFile, Rolling
from parakeetd.cli.following import Happening
from parakeetd.dictation import Final, Interim, State
from parakeetd.errors import InputError

LONG = "the quick brown fox jumps over the lazy dog and then it does the same again"


def final(text: str) -> Final:
    return Final(1, text, text, 0, 1)


def shown(*events: Happening, lines: int = 2) -> list[str]:
    rolling = Rolling(lines)
    return [rolling.take(event) for event in events][-1].splitlines()


def entries(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_the_open_utterance_stands_below_the_last_one_that_ended() -> None:
    assert shown(final("one"), final("two"), Interim(1, "three")) == ["two", "three"]


def test_a_final_takes_the_place_of_its_interim() -> None:
    assert shown(final("one"), Interim(1, "to"), final("two")) == ["one", "two"]


def test_a_long_utterance_is_broken_between_words_and_its_end_is_shown() -> None:
    lines = shown(Interim(1, f"{LONG} {LONG}"))
    assert len(lines) == 2
    assert all(len(line) <= LETTERS for line in lines)
    assert f"{LONG} {LONG}".endswith(" ".join(lines))


def test_lines_stay_as_they_are_while_the_next_utterance_grows() -> None:
    words = LONG.split()
    rolling = Rolling(4)
    rolling.take(final(LONG))
    tops = [rolling.take(Interim(1, " ".join(words[:n]))).splitlines()[:2] for n in range(1, 8)]
    assert len({tuple(top) for top in tops}) == 1


def test_what_a_spoken_command_takes_back_is_gone() -> None:
    assert shown(final("one"), final("two"), final("\b\b\b")) == ["one"]
    assert shown(final("one"), final("two"), final("\bin")) == ["one", "twin"]


def test_a_change_of_state_leaves_the_last_words_where_they_are() -> None:
    assert shown(final("one"), State("idle", 1)) == ["one"]


async def test_the_file_has_the_captions_and_is_empty_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("what was there before")
    file = CaptionFile(path, 2)
    assert path.read_text() == ""
    file.take(final("Grüße"))
    assert path.read_text(encoding="utf-8") == "Grüße\n"
    file.clear()
    assert path.read_text() == ""


async def test_nothing_else_is_left_in_its_folder(tmp_path: Path) -> None:
    file = CaptionFile(tmp_path / "captions.txt", 2)
    file.take(final("one"))
    file.clear()
    assert entries(tmp_path) == ["captions.txt"]


async def test_captions_go_when_nothing_is_said_any_more(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    file = CaptionFile(path, 2, shown_seconds=0.05)
    file.take(final("one"))
    for _ in range(1000):
        if not path.read_text():
            break
        await asyncio.sleep(0.03)
    assert path.read_text() == ""
    file.take(Interim(1, "two"))
    assert path.read_text() == "two\n"
    file.clear()


async def test_a_reader_finds_whole_captions_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    file = CaptionFile(path, 8)
    texts = [str(digit) * 5000 for digit in range(10)]
    whole = {Rolling(8).take(final(text)) for text in texts} | {""}
    found: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for text in texts * 20:
            file.take(final(text))
    finally:
        done.set()
        reader.join()
        file.clear()
    assert found
    # Eight lines of one text only: each has more.
    assert found <= whole


async def test_every_change_is_to_be_seen_in_the_time_or_the_identity_of_the_file(tmp_path: Path) -> None:
    """Programs look at the one or the other to know when to read it."""
    path = tmp_path / "captions.txt"
    file = CaptionFile(path, 2)
    before = path.stat()
    file.take(final("one"))
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) != (before.st_ino, before.st_mtime_ns)
    file.clear()


async def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "captions.txt"
    link.symlink_to(tmp_path / "there" / "captions.txt")
    CaptionFile(link, 2)
    assert link.is_symlink()
    assert (tmp_path / "there" / "captions.txt").read_text() == ""


async def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"captions .*/no/captions\.txt: cannot be written \(No such file"):
        CaptionFile(tmp_path / "no" / "captions.txt", 2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a file"):
        CaptionFile(tmp_path / "pipe", 2)
