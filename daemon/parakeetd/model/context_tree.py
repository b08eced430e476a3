"""A tree of token sequences that are to come more easily, for greedy decoding.

An automaton after A. Aho and M. Corasick, "Efficient string matching: an aid to bibliographic search" (CACM 1975): each
node is a match of the beginning of a phrase, and its failure link the longest other match that it ends in. A token that
continues a match earns a bonus; a match that comes to nothing gives its bonus back. The weights are those of NeMo's
boosting tree (`GPUBoostingTreeModel` with its defaults for transducers), so that lists of one weight decode alike.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

Arcs = tuple[Integers, Floats]
"""Tokens in rising order, and the bonus of each."""

START: Final = 0
"""The node of no match."""

DEPTH_SCALING: Final = 2.0
"""What tokens after the first earn, in multiples of what the first one does: a match that goes on is surer."""


def token_bonus(position: int, weight: float) -> float:
    """What the token at this position of a phrase, from 0, earns in the units of the model's logits."""
    return weight * (1.0 if position == 0 else DEPTH_SCALING + math.log(position + 1))


class ContextTree:
    """Phrases as token sequences. It is not changed after it was made, except for what it remembers of its answers, and
    may be used from several threads."""

    def __init__(self, phrases: Iterable[tuple[Sequence[int], float]]) -> None:
        """
        Args:
            phrases: token ids and the weight of each; above 0. Where phrases share a beginning the largest counts.
        """
        self._children: list[dict[int, int]] = [{}]
        self._ends = [False]
        self._depths = [0]
        own = [0.0]
        for tokens, weight in phrases:
            node = START
            for position, token in enumerate(tokens):
                if (child := self._children[node].get(token)) is None:
                    child = self._children[node][token] = len(self._children)
                    self._children.append({})
                    self._ends.append(False)
                    self._depths.append(position + 1)
                    own.append(0.0)
                own[child] = max(own[child], token_bonus(position, weight))
                node = child
            if node != START:
                self._ends[node] = True
        self._failures = [START] * len(self._children)
        self._bonuses = [0.0] * len(self._children)
        self._whole = [0] * len(self._children)
        self._link(own)
        self._first = self._arcs_of(self._children[START])
        self._continued: dict[int, Arcs] = {START: self._arcs_of({})}
        self._highest: dict[int, float] = {}

    def __len__(self) -> int:
        """The number of nodes, the one of no match included."""
        return len(self._children)

    def _link(self, own: Sequence[float]) -> None:
        """Failure links and bonuses, by depth.

        A node's total is what its match has earned, and at least what the match that its failure link stands for has.
        When a match cannot go on, it falls back along its links and gives the difference of the totals back, unless it
        is a whole phrase, which keeps what it earned. What any token would cause to be given back cannot change which
        one is largest: it is left out of all scores, and the tokens that continue a match have it added instead.
        """
        totals = [0.0] * len(own)
        given_back = [0.0] * len(own)
        queue = deque([START])
        while queue:
            node = queue.popleft()
            for token, child in self._children[node].items():
                failure = self.after(self._failures[node], token) if node != START else START
                self._failures[child] = failure
                self._whole[child] = self._depths[child] if self._ends[child] else self._whole[failure]
                totals[child] = max(totals[node] + own[child], totals[failure])
                given_back[child] = given_back[failure]
                if not self._ends[child]:
                    given_back[child] += totals[child] - totals[failure]
                self._bonuses[child] = totals[child] - totals[node] + given_back[node]
                queue.append(child)

    def after(self, node: int, token: int) -> int:
        """The node after one more token."""
        while (child := self._children[node].get(token)) is None:
            if node == START:
                return START
            node = self._failures[node]
        return child

    def matched(self, node: int) -> int:
        """Tokens in the match that a node stands for."""
        return self._depths[node]

    def whole(self, node: int) -> int:
        """Tokens in the longest phrase that a node's match ends in; 0 for none."""
        return self._whole[node]

    def arcs(self, node: int) -> tuple[Arcs, Arcs]:
        """The tokens with a bonus at a node: those that continue a match, and those that begin one.

        A token may be in both; the larger bonus counts. All bonuses are above 0; tokens in neither have none.
        """
        if (continued := self._continued.get(node)) is None:
            children: dict[int, int] = {}
            match = node
            while match != START:
                # Longer matches first, and they win.
                children = self._children[match] | children
                match = self._failures[match]
            continued = self._continued[node] = self._arcs_of(children)
        return continued, self._first

    def highest(self, node: int) -> float:
        """The largest bonus of a token at a node; 0 when none has one."""
        if (highest := self._highest.get(node)) is None:
            highest = max(
                (float(bonuses.max()) for _, bonuses in self.arcs(node) if len(bonuses)), default=0.0
            )
            self._highest[node] = highest
        return highest

    def _arcs_of(self, children: dict[int, int]) -> Arcs:
        tokens = sorted(children)
        bonuses = [self._bonuses[children[token]] for token in tokens]
        return np.array(tokens, np.int64), np.array(bonuses, np.float32)
