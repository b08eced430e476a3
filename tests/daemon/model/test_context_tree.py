"""The tree of phrases against a search through all of them, and against what NeMo's weights are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.model.context_tree import START, ContextTree, token_bonus

TOKENS = 4

phrases = st.lists(
    st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=5).map(tuple), min_size=1, max_size=8
)
sequences = st.lists(st.integers(0, TOKENS), max_size=12)


class BySearch:
    """The same by looking through all phrases each time."""

    def __init__(self, phrases: Sequence[tuple[int, ...]], weight: float) -> None:
        self.phrases = set(phrases)
        self.beginnings = {phrase[:length] for phrase in phrases for length in range(len(phrase) + 1)}
        self.weight = weight

    def match(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The longest end of these tokens that a phrase begins with."""
        ends = (tuple(tokens[at:]) for at in range(len(tokens) + 1))
        return next(end for end in ends if end in self.beginnings)

    def whole(self, tokens: Sequence[int]) -> int:
        """Length of the longest phrase that these tokens end in."""
        return max(
            (len(phrase) for phrase in self.phrases if tuple(tokens[-len(phrase) :]) == phrase), default=0
        )

    def earned(self, match: tuple[int, ...]) -> float:
        return sum(token_bonus(position, self.weight) for position in range(len(match)))

    def score(self, tokens: Sequence[int], token: int) -> float:
        """What NeMo adds to a token's score: the arc's weight, and what each match that it leaves gives back."""
        score, match = 0.0, self.match(tokens)
        while (*match, token) not in self.beginnings:
            if not match:
                return score
            shorter = self.match(match[1:])
            if match not in self.phrases:
                score += self.earned(shorter) - self.earned(match)
            match = shorter
        return score + token_bonus(len(match), self.weight)


def walked(tree: ContextTree, tokens: Sequence[int]) -> int:
    node = START
    for token in tokens:
        node = tree.after(node, token)
    return node


def bonuses(tree: ContextTree, node: int) -> list[float]:
    """Of each token."""
    table = [0.0] * (TOKENS + 1)
    for ids, values in tree.arcs(node):
        for token, bonus in zip(ids.tolist(), values.tolist(), strict=True):
            table[token] = max(table[token], bonus)
    return table


@given(phrases, sequences, st.sampled_from([0.25, 1.0, 5.0]))
def test_matches_and_bonuses_are_those_of_a_search_through_all_phrases(
    wanted: list[tuple[int, ...]], tokens: list[int], weight: float
) -> None:
    tree = ContextTree((phrase, weight) for phrase in wanted)
    search = BySearch(wanted, weight)
    node = walked(tree, tokens)
    assert tree.matched(node) == len(search.match(tokens))
    assert tree.whole(node) == search.whole(tokens)
    # Token TOKENS is in no phrase: what it gets is what every token gets, which decides nothing.
    common = search.score(tokens, TOKENS)
    expected = [search.score(tokens, token) - common for token in range(TOKENS + 1)]
    assert bonuses(tree, node) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(st.lists(st.tuples(phrases.map(lambda some: some[0]), st.floats(0.01, 5)), max_size=8), sequences)
def test_no_token_is_pushed_down_whatever_the_weights(
    weighted: list[tuple[tuple[int, ...], float]], tokens: list[int]
) -> None:
    tree = ContextTree(weighted)
    for ids, values in tree.arcs(walked(tree, tokens)):
        assert ids.tolist() == sorted(set(ids.tolist()))
        assert (values > 0).all()


@given(st.lists(st.tuples(phrases.map(lambda some: some[0]), st.floats(0.01, 5)), min_size=1, max_size=8))
def test_the_order_of_phrases_does_not_matter(weighted: list[tuple[tuple[int, ...], float]]) -> None:
    one, other = ContextTree(weighted), ContextTree(reversed(weighted))
    for phrase, _ in weighted:
        for length in range(len(phrase)):
            node, same = walked(one, phrase[:length]), walked(other, phrase[:length])
            assert bonuses(one, node) == pytest.approx(bonuses(other, same))


def test_the_first_token_earns_the_weight_and_later_ones_more() -> None:
    tree = ContextTree([((0, 1, 2), 3.0)])
    assert bonuses(tree, START)[0] == pytest.approx(3.0)
    # Beside its own bonus, the second token keeps what would be given back without it.
    assert bonuses(tree, walked(tree, [0]))[1] == pytest.approx(3.0 + 3.0 * (2 + math.log(2)))


def test_a_stronger_phrase_inside_of_a_weaker_one_keeps_its_strength() -> None:
    tree = ContextTree([((0, 1, 2), 0.1), ((1,), 5.0)])
    alone = bonuses(tree, START)[1]
    assert bonuses(tree, walked(tree, [0]))[1] >= alone


def test_a_shared_beginning_has_the_larger_weight() -> None:
    tree = ContextTree([((0, 1), 1.0), ((0, 2), 4.0)])
    assert bonuses(tree, START)[0] == pytest.approx(4.0)


def test_without_phrases_no_token_has_a_bonus() -> None:
    tree = ContextTree([])
    assert tree.after(START, 3) == START
    assert bonuses(tree, START) == [0.0] * (TOKENS + 1)
    assert len(tree) == 1
