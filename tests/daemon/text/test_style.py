"""Punctuation taken out, profanity starred, and both with commands."""

from __future__ import annotations

import pytest

from parakeetd.model.transcript import Transcript, Word
from parakeetd.text import Pen, Style, WordList, read_tables

LIST = WordList.of(["damn", "Shoot*"])


def written(text: str, style: Style) -> Transcript:
    words = tuple(Word(word, i, i + 0.5, 0.9) for i, word in enumerate(text.split()))
    return Pen(style).write(Transcript(text, words, confidence=0.7), final=True)


def test_in_the_plain_style_a_transcript_is_untouched() -> None:
    transcript = Transcript("go   go", (Word("go", 0, 1, 1.0), Word("go", 2, 3, 1.0)), confidence=1.0)
    assert Pen(Style()).write(transcript, final=True) == transcript


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hello, world. How are you?", "hello world how are you"),
        ("I think so. I'm sure.", "I think so I'm sure"),
        ("NATO met. McCoy, too. A4 is a size.", "NATO met McCoy too A4 is a size"),
        ("We saw Anna. Then 3.5 km, at 5 %.", "we saw Anna then 3.5 km at 5 %"),
        ("The U.S. won.", "the U.S. won"),
        ("¿Qué tal? «Bien», dijo.", "qué tal bien dijo"),
        ("Don't. Well-known - it's.", "don't well-known it's"),
        ("lower case", "lower case"),
        ("...", ""),
    ],
)
def test_without_punctuation_marks_go_and_sentences_begin_in_lower_case(text: str, plain: str) -> None:
    answer = written(text, Style(punctuation=False))
    assert answer.text == plain
    assert [word.text for word in answer.words] == plain.split()


def test_words_keep_their_times_without_punctuation() -> None:
    answer = written("Yes . Sir", Style(punctuation=False))
    assert [(word.text, word.start) for word in answer.words] == [("yes", 0), ("sir", 2)]


def test_spoken_marks_are_written_without_automatic_punctuation() -> None:
    commands = read_tables().commands["en"]
    answer = written("Hello, comma, World. Full stop. Yes.", Style(punctuation=False, commands=commands))
    assert answer.text == "hello, World. Yes"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("damn it", "d*** it"),
        ("Damn, he said", "D***, he said"),
        ("oh shooting, shoot!", "oh s*******, s****!"),
        ("damned (damn)", "damned (d***)"),
        ("fine", "fine"),
    ],
)
def test_profanity_keeps_its_first_letter(text: str, clean: str) -> None:
    answer = written(text, Style(profanity=LIST))
    assert answer.text == clean
    assert [word.text for word in answer.words] == clean.split()
    assert answer.confidence == 0.7


def test_profanity_is_starred_with_commands_too() -> None:
    style = Style(profanity=LIST, commands=read_tables().commands["en"])
    assert written("damn comma damn hyphen it new line damn", style).text == "d***, damn-it\nD***"


def test_spaces_that_the_model_wrote_stay_where_a_word_is_starred() -> None:
    transcript = Transcript("damn  it", (Word("damn", 0, 1, 1.0), Word("it", 2, 3, 1.0)), confidence=1.0)
    assert Pen(Style(profanity=LIST)).write(transcript, final=True).text == "d***  it"


def test_the_shipped_list_knows_the_usual_words_and_no_innocent_ones() -> None:
    shipped = read_tables().profanity
    assert "fucking" in shipped
    assert "Scheiße" in shipped
    for innocent in ("shiitake", "Scunthorpe", "class", "dictate", "basta", "fickle", "Essex"):
        assert innocent not in shipped
