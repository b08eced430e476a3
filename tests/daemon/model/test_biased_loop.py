"""The search in one graph cannot be biased: which rows it leaves to another form, and when that is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parakeetd.model.biasing import Bias
from parakeetd.model.context_tree import ContextTree
from parakeetd.model.sessions import Session
from parakeetd.model.transcript import Token
from parakeetd.model.transducers import Encoded, LoopTransducer, Transducer

BLANK = 9

PHRASES = Bias(ContextTree([((1, 2), 1.0)]))
WITHOUT_3 = Bias(None, np.array([token != 3 for token in range(BLANK + 1)]))
"""Shuts token 3 out."""


class Output:
    def __init__(self, values: Any) -> None:
        self._values = np.array(values)

    def numpy(self) -> Any:
        return self._values


class OneTokenEach(Session):
    """In place of the graph: each row's only token is what its encoder output says."""

    def __init__(self) -> None:
        self.searched: list[int] = []
        """Rows at each call."""

    def run_on_device(self, inputs: Any, outputs: Any, *, shrink: bool = False) -> Any:
        tokens = inputs["encoder_outputs"][:, 0, 0].astype(np.int64)
        self.searched.append(len(tokens))
        return [Output([tokens]), *(Output([np.ones(len(tokens))]) for _ in range(3))]


class Other:
    """The form that takes biases: it emits token 100 more than the encoder output says."""

    def __init__(self) -> None:
        self.opened = 0
        self.asked: list[tuple[list[int], list[Bias | None]]] = []

    def open(self) -> Transducer:
        self.opened += 1
        return self

    def __call__(
        self, encoded: Encoded, *, look_ahead: int, biases: Sequence[Bias | None] = ()
    ) -> list[tuple[Token, ...]]:
        said = [int(row[0, 0]) for row in np.asarray(encoded.outputs)]
        self.asked.append((said, list(biases)))
        return [(Token(token + 100, 0, 1, 1.0),) for token in said]


def decoded(said: list[int], biases: list[Bias | None], loop: LoopTransducer) -> list[int]:
    outputs = np.array(said, np.float32)[:, None, None]
    rows = loop(Encoded(outputs, np.ones(len(said), np.int64)), biases=biases)
    return [tokens[0].id for tokens in rows]


def test_rows_without_phrases_are_searched_by_the_graph_alone() -> None:
    graph, other = OneTokenEach(), Other()
    loop = LoopTransducer(graph, other.open)
    assert decoded([1, 2, 4], [None, None, WITHOUT_3], loop) == [1, 2, 4]
    assert graph.searched == [3]
    assert other.opened == 0


def test_rows_with_phrases_are_left_to_the_other_form_which_is_opened_once() -> None:
    graph, other = OneTokenEach(), Other()
    loop = LoopTransducer(graph, other.open)
    assert decoded([1, 2, 3], [None, PHRASES, None], loop) == [1, 102, 3]
    assert decoded([5], [PHRASES], loop) == [105]
    assert graph.searched == [2]
    assert other.opened == 1
    assert other.asked == [([2], [PHRASES]), ([5], [PHRASES])]


def test_rows_that_come_out_with_a_token_that_is_shut_out_are_searched_again() -> None:
    graph, other = OneTokenEach(), Other()
    loop = LoopTransducer(graph, other.open)
    assert decoded([3, 3, 4], [None, WITHOUT_3, WITHOUT_3], loop) == [3, 103, 4]
    assert other.asked == [([3], [WITHOUT_3])]
