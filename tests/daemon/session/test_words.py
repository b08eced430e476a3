"""Words of overlapping hypotheses: none lost, none doubled."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from parakeetd.model.transcript import Transcript, Word
from parakeetd.session.words import Seams, before, following, transcript_of

JITTER = 0.08
"""Seconds by which two hypotheses place a word: an encoder frame."""


def words(*said: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(text, start, end, 0.9) for text, start, end in said)


def text(merged: tuple[Word, ...]) -> str:
    return " ".join(word.text for word in merged)


def test_what_follows_the_last_word_is_new_even_if_that_word_has_moved() -> None:
    said = words(("one", 0.0, 0.4), ("two", 0.5, 0.9))
    again = words(("one", 0.0, 0.4), ("two", 0.6, 1.0), ("three", 1.0, 1.2))
    assert text(following(said, again)) == "three"


def test_a_word_said_twice_is_not_taken_for_its_first_time() -> None:
    said = words(("one", 0.0, 0.2))
    assert text(following(said, words(("one", 0.05, 0.2), ("one", 0.3, 0.5)))) == "one"


def test_another_word_in_the_same_place_is_not_added() -> None:
    assert text(following(words(("two", 0.5, 0.9)), words(("to", 0.5, 0.95), ("be", 1.0, 1.2)))) == "be"


def test_words_up_to_a_seam_are_those_whose_middle_lies_before_it() -> None:
    assert text(before(1.0, words(("a", 0.0, 0.5), ("b", 0.6, 1.2), ("c", 0.9, 1.3)))) == "a b"


def test_a_segment_without_seams_is_left_as_it_is() -> None:
    transcript = Transcript("a  b", words(("a", 0.0, 0.1), ("b", 0.2, 0.3)))
    assert Seams().take(transcript, seam_before=None, seam_after=None) is transcript


def test_words_before_a_seam_are_kept_when_the_segment_before_had_none() -> None:
    seams = Seams()
    seams.take(Transcript(), seam_before=None, seam_after=10.0)
    late = transcript_of(words(("noise", 9.1, 9.3), ("word", 9.7, 10.1)))
    assert seams.take(late, seam_before=10.0, seam_after=None).text == "word"


def after_a_seam(
    first: tuple[Word, ...], second: tuple[Word, ...], seam: float
) -> tuple[list[str], tuple[Word, ...]]:
    """What the part before a cut says, and the part after it."""
    seams = Seams()
    said = seams.take(transcript_of(first), seam_before=None, seam_after=seam).words
    return [word.text for word in said], seams.take(
        transcript_of(second), seam_before=seam, seam_after=None
    ).words


def test_a_word_after_the_cut_that_only_the_part_before_heard_is_not_lost() -> None:
    first = words(
        ("oh", 10.3, 10.6), ("three", 10.7, 10.9), ("four", 11.0, 11.2), ("m", 11.5, 11.7), ("e", 11.8, 12)
    )
    second = words(("okay", 10.3, 10.8), ("m", 11.5, 11.7), ("o", 11.8, 12.0), ("w", 12.2, 12.4))
    said, rest = after_a_seam(first, second, 10.95)
    assert said == ["oh", "three"]
    assert [word.text for word in rest] == ["four", "m", "o", "w"]


def test_the_last_word_before_a_parts_end_may_be_half_of_one_and_is_left_to_the_next() -> None:
    first = words(("nine", 1.0, 1.3), ("ate", 1.9, 2.0))
    said, rest = after_a_seam(first, words(("nine", 1.0, 1.3)), 1.5)
    assert (said, rest) == (["nine"], ())


def test_what_both_parts_heard_after_the_cut_comes_once() -> None:
    first = words(("a", 1.0, 1.3), ("b", 1.6, 1.8), ("c", 2.0, 2.2), ("d", 2.3, 2.5))
    second = words(("b", 1.7, 1.9), ("c", 2.1, 2.3), ("d", 2.4, 2.6), ("e", 3.0, 3.2))
    said, rest = after_a_seam(first, second, 1.5)
    assert said + [word.text for word in rest] == ["a", "b", "c", "d", "e"]


def test_two_words_where_the_part_before_heard_one_are_not_doubled() -> None:
    first = words(("nine", 1.5, 1.96), ("x", 3.0, 3.2))
    second = words(("nine", 1.5, 1.7), ("nine", 1.74, 1.96), ("two", 2.1, 2.3), ("x", 3.0, 3.2))
    said, rest = after_a_seam(first, second, 2.0)
    assert said + [word.text for word in rest] == ["nine", "two", "x"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(3, 8), st.integers(0, 6)),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.floats(0.2, 0.8), min_size=1, max_size=4),
    st.lists(st.floats(-JITTER / 2, JITTER / 2), min_size=200, max_size=200),
    st.floats(0.8, 1.5),
)
def test_cut_anywhere_with_an_overlap_every_word_comes_once(
    said: list[tuple[str, int, int]], cuts: list[float], jitter: list[float], overlap: float
) -> None:
    at = 0.0
    spoken: list[Word] = []
    for name, length, pause in said:
        # Words of the same name are told apart by what follows the name: repetition at speed is tested above.
        spoken.append(Word(f"{name}{len(spoken) % 5}", at, at + length / 10, 0.9))
        at += length / 10 + pause / 10
    seams_at = sorted({round(share * at, 2) for share in cuts})
    if any(later - earlier < 2 * overlap for earlier, later in itertools.pairwise(seams_at)):
        seams_at = seams_at[:1]
    edges = [None, *seams_at, None]
    seams, shaken = Seams(), iter(jitter)
    merged: list[Word] = []
    for first, last in itertools.pairwise(edges):
        begin = -1.0 if first is None else first - overlap
        end = at + 1 if last is None else last + overlap
        heard = []
        for word in spoken:
            if begin <= word.start - JITTER and word.end + JITTER <= end:
                shift = next(shaken)
                heard.append(replace(word, start=word.start + shift, end=word.end + shift))
        merged += seams.take(transcript_of(heard), seam_before=first, seam_after=last).words
    assert [word.text for word in merged] == [word.text for word in spoken]
    assert all(a.start <= b.start for a, b in itertools.pairwise(merged))
