"""Greedy search with phrases and with tokens shut out, over small networks whose arithmetic is exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parakeetd.model import ctc, tdt
from parakeetd.model.biasing import Bias
from parakeetd.model.context_tree import ContextTree
from parakeetd.model.tdt import Floats
from parakeetd.model.transcript import Token
from small_networks import BLANK, DURATIONS, OneRow, Small, encoded, places, plain, together

phrases = st.lists(
    st.lists(st.integers(0, BLANK - 1), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4
)
weights = st.sampled_from([0.0, 1.0, 3.0, 10.0])
shut_out = st.frozensets(st.integers(0, BLANK - 1), max_size=3)


def bias_of(
    wanted: Sequence[tuple[int, ...]] = (),
    weight: float = 3.0,
    without: frozenset[int] = frozenset(),
    *,
    takes_back: bool = True,
) -> Bias:
    allowed = np.array([token not in without for token in range(BLANK + 1)]) if without else None
    tree = ContextTree((phrase, weight) for phrase in wanted) if wanted and weight else None
    return Bias(tree, allowed, takes_back=takes_back)


def ids(tokens: Sequence[Token]) -> list[int]:
    return [token.id for token in tokens]


def inside_a_phrase(tokens: Sequence[int], at: int, wanted: Sequence[tuple[int, ...]]) -> bool:
    """Whether a whole phrase stands over the token at this place."""
    return any(
        tuple(tokens[start : start + len(phrase)]) == phrase
        for phrase in wanted
        for start in range(max(0, at - len(phrase) + 1), at + 1)
    )


@pytest.mark.parametrize("look_ahead", [1, 4])
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=5),
    blanks=st.integers(-2, 12),
    lists=st.lists(st.tuples(phrases, weights, shut_out, st.booleans()), min_size=5, max_size=5),
)
def test_a_biased_batch_gives_what_the_plain_loop_gives_for_each_row(
    look_ahead: int,
    seed: int,
    lengths: list[int],
    blanks: int,
    lists: list[tuple[list[tuple[int, ...]], float, frozenset[int], bool]],
) -> None:
    biases = [bias_of(*given[:3], takes_back=given[3]) for given in lists[: len(lengths)]]
    frames = encoded(seed, len(lengths), max(1, *lengths))
    networks = Small(seed, blanks)
    expected = plain(networks, frames, lengths, biases=biases)
    assert places(together(networks, frames, lengths, look_ahead, biases=biases)) == places(expected)


@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 24),
    others=st.lists(st.integers(0, 24), max_size=4),
    wanted=phrases,
)
def test_a_row_with_phrases_changes_nothing_for_the_others(
    seed: int, length: int, others: list[int], wanted: list[tuple[int, ...]]
) -> None:
    lengths = [*others, length]
    frames = encoded(seed, len(lengths), max(lengths))
    without = together(Small(seed, 4), frames, lengths, 2)
    bias = bias_of(wanted, 10.0)
    found = together(Small(seed, 4), frames, lengths, 2, biases=[None] * len(others) + [bias])
    assert places(found[:-1]) == places(without[:-1])


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(1, 24), min_size=1, max_size=4))
def test_an_empty_list_of_phrases_is_as_none(seed: int, lengths: list[int]) -> None:
    frames = encoded(seed, len(lengths), max(lengths))
    empty = Bias(ContextTree([]), np.ones(BLANK + 1, bool))
    found = together(Small(seed, 4), frames, lengths, 2, biases=[empty] * len(lengths))
    assert found == together(Small(seed, 4), frames, lengths, 2)


@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 24),
    wanted=phrases,
    weight=weights,
    without=shut_out,
)
def test_what_differs_for_a_phrase_lies_inside_that_phrase(
    seed: int, frames: int, wanted: list[tuple[int, ...]], weight: float, without: frozenset[int]
) -> None:
    """Each token of the answer is the one that the networks alone put first there, or part of a whole phrase."""
    piece, networks = encoded(seed, 1, frames), Small(seed, 2)
    [tokens] = plain(networks, piece, [frames], biases=[bias_of(wanted, weight, without)])
    said = ids(tokens)
    assert not without & set(said)
    steps = OneRow(networks, piece[0])
    state = steps.start()
    for place, token in enumerate(tokens):
        scores = steps.joint(token.frame, state)[: BLANK + 1].copy()
        scores[list(without)] = -np.inf
        assert token.id == scores.argmax() or inside_a_phrase(said, place, wanted)
        state = steps.predict(token.id, state)


class Scripted:
    """Networks whose joint says what is written for each frame, whatever was emitted before."""

    def __init__(self, logits: Floats) -> None:
        self._logits = logits

    def start(self) -> None:
        return None

    def joint(self, frame: int, state: None) -> Floats:
        return self._logits[frame]

    def predict(self, token: int, state: None) -> None:
        return None


def scripted(*frames: dict[int, float]) -> Scripted:
    """Scores of tokens frame by frame, the others far below; each token takes one frame."""
    logits = np.full((len(frames), BLANK + 1 + len(DURATIONS)), -20.0, np.float32)
    logits[:, BLANK + 2] = 0.0
    for row, scores in zip(logits, frames, strict=True):
        row[list(scores)] = list(scores.values())
    return Scripted(logits)


def said(networks: Scripted, frames: int, bias: Bias | None) -> list[int]:
    return ids(tdt.greedy(frames, networks, blank=BLANK, durations=DURATIONS, max_symbols=10, bias=bias))


NEARLY = ({0: 0.0, 1: -1.0}, {2: 0.0}, {3: 0.0, 4: -1.0})
"""Heard: 0 2 3; nearly 1 2 4."""


def test_a_phrase_that_was_nearly_heard_is_heard() -> None:
    assert said(scripted(*NEARLY), 3, None) == [0, 2, 3]
    assert said(scripted(*NEARLY), 3, bias_of([(1, 2, 4)], 2.0)) == [1, 2, 4]


def test_a_phrase_that_only_begins_leaves_nothing_behind() -> None:
    assert said(scripted(*NEARLY), 3, bias_of([(1, 2, 0)], 2.0)) == [0, 2, 3]
    assert said(scripted(*NEARLY), 3, bias_of([(1, 2, 0)], 2.0, takes_back=False)) == [1, 2, 3]


def test_a_phrase_that_the_audio_ends_in_leaves_nothing_behind() -> None:
    assert said(scripted(*NEARLY[:2]), 2, bias_of([(1, 2, 4)], 2.0)) == [0, 2]


def test_what_follows_a_phrase_that_did_not_come_may_still_be_one() -> None:
    assert said(scripted(*NEARLY), 3, bias_of([(1, 2, 0), (2, 4)], 2.0)) == [0, 2, 4]


def test_a_phrase_changes_which_token_is_emitted_and_not_whether_one_is() -> None:
    networks = scripted({BLANK: 0.0, 1: -0.1})
    assert said(networks, 1, bias_of([(1,)], 10.0)) == []


def test_where_the_best_token_is_shut_out_blank_may_be_the_next_best() -> None:
    networks = scripted({0: 0.0, BLANK: -1.0, 1: -2.0}, {0: 0.0, 1: -1.0, BLANK: -2.0})
    assert said(networks, 2, bias_of(without=frozenset({0}))) == [1]


def test_a_phrase_of_tokens_that_are_shut_out_does_not_come() -> None:
    assert said(scripted(*NEARLY), 3, bias_of([(1, 2, 4)], 10.0, frozenset({4}))) == [0, 2, 3]


def test_confidences_are_the_models_own() -> None:
    [token] = tdt.greedy(
        1,
        scripted({0: 0.0, 1: -1.0}),
        blank=BLANK,
        durations=DURATIONS,
        max_symbols=10,
        bias=bias_of([(1,)], 5.0),
    )
    # softmax over scores 0 and -1, the others are e^-20 each.
    assert token.id == 1
    assert token.confidence == pytest.approx(np.exp(-1) / (1 + np.exp(-1)), rel=1e-6)


def frames_of(*labels: int, nearly: dict[int, int]) -> NDArray[np.float32]:
    """Log-probabilities [T, V + 1] that favour one label a frame and another next; `nearly` by place."""
    table = np.full((len(labels), BLANK + 1), 1e-9)
    table[np.arange(len(labels)), labels] = 0.6
    for place, label in nearly.items():
        table[place, label] = 0.3
    return np.log(table / table.sum(axis=1, keepdims=True)).astype(np.float32)


def test_ctc_hears_a_phrase_that_was_nearly_heard() -> None:
    heard = frames_of(0, 0, BLANK, 2, BLANK, 3, 3, nearly={0: 1, 5: 4})
    bias = bias_of([(1, 2, 4)], 2.0)
    assert ids(ctc.greedy(heard, blank=BLANK)) == [0, 2, 3]
    tokens = ctc.greedy(heard, blank=BLANK, bias=bias)
    assert [(token.id, token.frame, token.duration) for token in tokens] == [(1, 0, 2), (2, 3, 1), (4, 5, 2)]


def test_ctc_leaves_nothing_behind_of_a_phrase_that_only_begins() -> None:
    heard = frames_of(0, BLANK, 2, 3, nearly={0: 1, 3: 4})
    assert ids(ctc.greedy(heard, blank=BLANK, bias=bias_of([(1, 2, 0)], 2.0))) == [0, 2, 3]
    assert ids(ctc.greedy(heard, blank=BLANK, bias=bias_of([(1, 2, 4, 4)], 2.0))) == [0, 2, 3]


def test_ctc_does_not_double_a_token_that_a_phrase_put_before_the_same() -> None:
    heard = frames_of(0, 1, BLANK, nearly={0: 1})
    assert ids(ctc.greedy(heard, blank=BLANK, bias=bias_of([(1,)], 3.0))) == [1]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.tuples(phrases, weights, shut_out),
)
def test_ctc_writes_no_token_that_is_shut_out(
    seed: int, frames: int, given: tuple[list[tuple[int, ...]], float, frozenset[int]]
) -> None:
    scores = np.random.default_rng(seed).normal(0, 2, (frames, BLANK + 1)).astype(np.float32)
    tokens = ctc.greedy(
        scores - np.log(np.exp(scores).sum(1, keepdims=True)), blank=BLANK, bias=bias_of(*given)
    )
    assert not given[2] & set(ids(tokens))
    assert all(0 <= token.confidence <= 1 for token in tokens)
