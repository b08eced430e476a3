"""Which words are settled, over hypotheses that change their mind."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from parakeetd.model.transcript import Word
from parakeetd.session.agreement import AGREEING, LONGEST_WINDOW_SECONDS, Agreement, Hypothesis


def spoken(text: str, confidence: float = 0.99) -> tuple[Word, ...]:
    """Two words a second, from the beginning of the stream."""
    return tuple(Word(word, i * 0.5, i * 0.5 + 0.4, confidence) for i, word in enumerate(text.split()))


def texts(hypothesis: Hypothesis) -> tuple[str, str]:
    """The stable words, and the others."""
    words = [word.text for word in hypothesis.words]
    return " ".join(words[: hypothesis.stable]), " ".join(words[hypothesis.stable :])


def test_words_are_stable_when_enough_hypotheses_agree_and_some_audio_came_after_them() -> None:
    agreement = Agreement(0.0)
    words = spoken("a b c")
    for _ in range(AGREEING - 1):
        assert texts(agreement.add(words, 1.6)) == ("", "a b c")
    assert texts(agreement.add(words, 1.6)) == ("a b", "c")


def test_a_word_that_is_not_sure_is_not_stable_nor_is_what_follows_it() -> None:
    agreement, last = Agreement(0.0), Hypothesis()
    words = spoken("a b c d")
    words = (words[0], replace(words[1], confidence=0.5), *words[2:])
    for _ in range(AGREEING):
        last = agreement.add(words, 5.0)
    assert texts(last) == ("a", "b c d")


def test_a_changed_word_starts_the_count_anew() -> None:
    agreement, last = Agreement(0.0), Hypothesis()
    for text in ("a b", "a x", "a b"):
        last = agreement.add(spoken(text), 5.0)
    assert texts(last) == ("a", "b")


def test_stable_words_stay_when_a_later_hypothesis_hears_something_else() -> None:
    agreement = Agreement(0.0)
    for _ in range(AGREEING):
        agreement.add(spoken("a b"), 5.0)
    assert texts(agreement.add(spoken("x y c"), 5.3)) == ("a b", "c")


def test_the_share_of_stable_words_tells_their_number_and_is_below_one() -> None:
    for total in range(1, 40):
        for stable in range(total + 1):
            hypothesis = Hypothesis(spoken("w " * total), stable)
            assert round(hypothesis.stability * total) == stable
            assert hypothesis.stability < 1


def test_a_long_segment_is_heard_again_only_from_a_word_near_its_end() -> None:
    agreement = Agreement(0.0)
    said = " ".join(f"w{i}" for i in range(80))
    last, starts = Hypothesis(), []
    for step in range(1, 140):
        now = step * 0.3
        window = agreement.window_start
        heard = tuple(word for word in spoken(said) if window <= word.start and word.end <= now)
        last = agreement.add(heard, now)
        starts.append(now - window)
    assert max(starts) <= LONGEST_WINDOW_SECONDS + 0.301
    assert " ".join(word.text for word in last.words) == said


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), max_size=12),
        min_size=1,
        max_size=25,
    )
)
def test_whatever_the_hypotheses_stable_words_are_never_taken_back_and_times_go_forward(
    steps: list[list[tuple[str, int, bool]]],
) -> None:
    agreement = Agreement(0.0)
    stable: tuple[Word, ...] = ()
    for n, step in enumerate(steps):
        at, words = agreement.window_start, []
        for text, length, sure in step:
            words.append(Word(text, at, at + length * 0.05, 0.95 if sure else 0.5))
            at += length * 0.1
        heard = agreement.add(tuple(words), agreement.window_start + 0.5 * n)
        assert heard.words[: len(stable)] == stable
        stable = heard.words[: heard.stable]
        assert all(a.end <= b.start and b.start <= b.end for a, b in itertools.pairwise(stable))
