"""Spoken commands and punctuation, with the shipped tables and tables of the tests' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.model.transcript import Transcript, Word
from parakeetd.text import Commands, Pen, Style, WordList, read_tables
from parakeetd.text.commands import Command

SHIPPED = read_tables().commands
ENGLISH = SHIPPED["en"]


def heard(text: str, start: float = 0.0) -> Transcript:
    """Words of half a second each, as a recogniser answers them."""
    words = tuple(
        Word(word, start + i / 2, start + i / 2 + 0.4, 0.9 - i / 100) for i, word in enumerate(text.split())
    )
    return Transcript(text, words, confidence=0.5)


def finals(*texts: str, commands: Commands = ENGLISH, **style: Any) -> list[str]:
    pen = Pen(Style(commands=commands, **style))
    return [pen.write(heard(text), final=True).text for text in texts]


def typed(*texts: str, commands: Commands = ENGLISH) -> str:
    """What a front end has that types the finals, backspaces included."""
    line: list[str] = []
    for character in "".join(finals(*texts, commands=commands)):
        if character == "\b":
            line.pop()
        else:
            line.append(character)
    return "".join(line)


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("hello comma world", "hello, world"),
        ("hello full stop how are you question mark", "hello. How are you?"),
        ("first new line second", "first\nSecond"),
        ("first full stop new paragraph second", "first.\n\nSecond"),
        ("say open quote yes close quote please", "say “yes” please"),
        ("he left full stop open quote good close quote", "he left. “Good”"),
        ("well hyphen known", "well-known"),
        ("salt ampersand pepper", "salt & pepper"),
        ("five percent sign", "five%"),
        ("wait dash what", "wait – what"),
        ("no exclamation mark exclamation mark", "no!!"),
        ("open parenthesis see below close parenthesis", "(see below)"),
        ("four full stop 5 is next", "four. 5 is next"),
        ("the command is a comma", "the command is a,"),
        ("a commander wins", "a commander wins"),
        ("new lines", "new lines"),
        ("", ""),
    ],
)
def test_a_spoken_mark_is_written_where_it_belongs(spoken: str, written: str) -> None:
    assert finals(spoken) == [written]


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("Hello, comma, world.", "Hello, world."),
        ("Hello. Comma. World.", "Hello, world."),
        ("Hello world. Full stop. How are you? Question mark.", "Hello world. How are you?"),
        ("I know. Comma. I do.", "I know, I do."),
        ("Hello, new line, dear Anna.", "Hello\nDear Anna."),
        ("That is it. New line. More.", "That is it.\nMore."),
        ("The U.S. comma too.", "The U.S., too."),
        ("Go, McCoy, comma, NATO.", "Go, McCoy, NATO."),
        ("Delete that.", ""),
    ],
)
def test_a_spoken_mark_replaces_those_that_the_model_put_around_it(spoken: str, written: str) -> None:
    assert finals(spoken) == [written]


def test_finals_joined_as_they_are_make_up_the_text() -> None:
    assert finals("hello", "comma world", "full stop", "new line", "how are you", "question mark", "fine") == [
        "hello", ", world", ".", "\n", "How are you", "?", " Fine",
    ]  # fmt: skip


def test_what_opens_at_the_end_of_a_final_is_written_against_the_next() -> None:
    assert "".join(finals("she said open quote", "yes close quote", "twice")) == "she said “yes” twice"


def test_delete_takes_back_what_was_said_in_the_same_utterance() -> None:
    assert finals("one full stop two delete that three") == ["three"]
    assert finals("done full stop", "not this delete that but this") == ["done.", " But this"]


def test_delete_by_itself_answers_backspaces_for_the_last_final() -> None:
    assert finals("hello", "my world", "delete that") == ["hello", " my world", "\b" * len(" my world")]


def test_deleting_again_takes_back_the_final_before_and_then_nothing() -> None:
    assert typed("hello", "my world", "delete that") == "hello"
    assert typed("hello", "my world", "delete that", "scratch that", "again") == "again"
    assert typed("hello", "delete that delete that delete that") == ""
    assert typed("one", "two", "delete that three") == "one three"


def test_after_a_deletion_case_and_space_are_as_before_what_was_deleted() -> None:
    assert typed("one full stop", "two", "delete that", "three") == "one. Three"
    assert typed("one", "new line", "delete that", "two") == "one two"


def test_an_interim_leaves_no_trace_and_takes_nothing_back() -> None:
    pen = Pen(Style(commands=ENGLISH))
    pen.write(heard("hello"), final=True)
    assert pen.write(heard("full stop"), final=False).text == "."
    assert pen.write(heard("delete that"), final=False).text == ""
    assert pen.write(heard("world"), final=False).text == " world"
    assert pen.write(heard("world"), final=True).text == " world"


def test_an_interim_leaves_out_words_that_may_become_a_command() -> None:
    pen = Pen(Style(commands=ENGLISH))
    shown = [pen.write(heard(text), final=False).text for text in ("a", "a new", "a new line", "a new day")]
    assert shown == ["a", "a", "a\n", "a new day"]
    assert pen.write(heard("a new"), final=True).text == "a new"


def test_literal_has_a_command_written_out() -> None:
    assert finals("say literal full stop comma please") == ["say full stop, please"]
    assert finals("the literal meaning") == ["the literal meaning"]
    assert finals("it is literal") == ["it is literal"]


def test_the_longest_phrase_wins() -> None:
    own = Commands.of(
        {"dot": Command(text=".", attach="previous"), "dot com": Command(text=".com", attach="both")}
    )
    assert finals("example dot com slash dot", commands=own) == ["example.comslash."]


def test_a_text_of_letters_or_digits_is_written_as_the_table_says_and_takes_the_place_of_a_word() -> None:
    own = {
        "new line": Command(text="\n", attach="both"),
        "my name": Command(text="anna B"),
        "stop": Command(text="."),
    }
    assert finals("stop new line my name spoke", commands=Commands.of(own)) == [".\nanna B spoke"]


def test_words_carry_what_is_written_against_them_and_keep_their_times() -> None:
    pen = Pen(Style(commands=ENGLISH))
    written = pen.write(heard("hello comma big hyphen world new line end"), final=True)
    assert [(word.text, word.start, word.end) for word in written.words] == [
        ("hello,", 0.0, 0.4),
        ("big-world", 1.0, 2.4),
        ("\n", 2.5, 3.4),
        ("End", 3.5, 3.9),
    ]
    assert written.confidence == 0.5


@pytest.mark.parametrize(
    ("language", "spoken", "written"),
    [
        ("de", "hallo komma welt punkt neue zeile ende", "hallo, welt.\nEnde"),
        ("fr", "bonjour virgule ça va point d'interrogation", "bonjour, ça va ?"),
        ("fr", "Quoi, point d’interrogation.", "Quoi ?"),
        ("es", "hola coma abre interrogación qué tal cierra interrogación", "hola, ¿qué tal?"),
    ],
)
def test_each_language_has_its_own_table(language: str, spoken: str, written: str) -> None:
    assert finals(spoken, commands=SHIPPED[language]) == [written]


def phrases(table: Mapping[tuple[str, ...], Command]) -> list[str]:
    return [" ".join(phrase) for phrase in table]


@given(
    st.lists(
        st.lists(st.sampled_from([*phrases(ENGLISH.phrases), "hello", "World.", "it's", "new"]), max_size=8),
        max_size=5,
    ),
    st.booleans(),
    st.builds(
        Style,
        punctuation=st.booleans(),
        commands=st.sampled_from([ENGLISH, None]),
        profanity=st.sampled_from([WordList.of(["hello", "n*"]), None]),
    ),
)
def test_words_and_text_say_the_same_in_the_order_of_their_times(
    said: list[list[str]], final: bool, style: Style
) -> None:
    pen = Pen(style)
    for utterance in said:
        spoken = heard(" ".join(utterance))
        written = pen.write(spoken, final=final)
        words = [word.text for word in written.words]
        assert "".join(words).replace(" ", "") == written.text.replace(" ", "")
        times = [time for word in written.words for time in (word.start, word.end)]
        if final or not written.words:
            assert times == sorted(times)
        if times:
            assert spoken.words[0].start <= times[0]
            assert times[-1] <= spoken.words[-1].end


@given(st.lists(st.text(alphabet="abc .", max_size=12), max_size=6))
def test_words_without_commands_are_only_joined(said: list[str]) -> None:
    joined = "".join(finals(*said, commands=Commands({})))
    assert joined.split() == " ".join(said).split()
