"""A recording's texts: what spoken commands take back is gone from them."""

from __future__ import annotations

import pytest

from parakeetd.model.transcript import Transcript, Word
from parakeetd.text import Pen, Style, read_tables, taken_back

STYLE = Style(commands=read_tables().commands["en"])


def written(*texts: str) -> list[Transcript]:
    pen = Pen(STYLE)
    heard = []
    for at, text in enumerate(texts):
        words = tuple(Word(word, at + i / 10, at + i / 10 + 0.1, 0.9) for i, word in enumerate(text.split()))
        heard.append(pen.write(Transcript(text, words, confidence=0.9), final=True))
    return heard


@pytest.mark.parametrize(
    ("spoken", "kept"),
    [
        (("hello", "my world"), ["hello", " my world"]),
        (("hello", "my world", "delete that"), ["hello", "", ""]),
        (("hello", "my world", "delete that", "scratch that", "again"), ["", "", "", "", "again"]),
        (("one full stop", "two", "delete that three"), ["one.", "", " Three"]),
        (("delete that", "one"), ["", "one"]),
    ],
)
def test_what_was_taken_back_is_gone(spoken: tuple[str, ...], kept: list[str]) -> None:
    assert [transcript.text for transcript in taken_back(written(*spoken))] == kept


def test_words_that_were_taken_back_and_the_command_for_it_are_gone_too() -> None:
    transcripts = taken_back(written("hello", "my world", "delete that again"))
    assert [[word.text for word in transcript.words] for transcript in transcripts] == [
        ["hello"],
        [],
        ["again"],
    ]
    assert transcripts[2].words[0].start == pytest.approx(2.2)
