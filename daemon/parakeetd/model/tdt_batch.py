"""Greedy TDT decoding of a batch, by a prediction network and a joint that are called apart.

It makes the hypotheses of `tdt.greedy` with fewer and larger products: the prediction network runs after a token
only, since a blank changes nothing for it, and for the rows that emitted one; the joint looks at several frames
ahead in one product, which hold as long as no token comes; rows that are done drop out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parakeetd.model.biasing import Bias
from parakeetd.model.tdt import Floats, Hypothesis
from parakeetd.model.transcript import Token

Integers = NDArray[np.int64]

States = tuple[Floats, Floats]
"""Hidden and cell state of the prediction network, [layers, b, H] each."""


class Networks(Protocol):
    """The two networks, for any number of rows b."""

    def start(self, rows: int) -> tuple[Floats, States]:
        """What `predict` gives at the start of the sentence, the same for each row; the caller may write on it."""
        ...

    def predict(self, tokens: Integers, states: States) -> tuple[Floats, States]:
        """What the joint takes, [b, J], and the states, after one more token [b]; the caller may write on them."""
        ...

    def joint(self, frames: Floats, prediction: Floats) -> Floats:
        """Logits [b, N, V + 1 + D] at N projected frames [b, N, J], each with the same prediction [b, J]."""
        ...


def greedy(
    frames: Floats,
    lengths: Sequence[int],
    networks: Networks,
    *,
    blank: int,
    durations: Sequence[int],
    max_symbols: int,
    look_ahead: int = 1,
    biases: Sequence[Bias | None] = (),
) -> list[tuple[Token, ...]]:
    """The greedy hypotheses of a batch.

    Args:
        frames: encoder output projected for the joint, [B, T, J].
        lengths: frames of each row, at most T.
        blank: index of blank, which is also the number of text tokens.
        durations: frames each duration output advances, in the order of the joint's last outputs.
        max_symbols: most tokens emitted at one frame.
        look_ahead: frames the joint looks at in one product; changes the time it takes and nothing else.
        biases: how the choice of tokens is changed in each row; none is when they are not given.
    """
    hypotheses = [
        Hypothesis(length, blank=blank, durations=durations, max_symbols=max_symbols, bias=bias)
        for length, bias in zip(lengths, biases or [None] * len(lengths), strict=True)
    ]
    rows = [row for row, hypothesis in enumerate(hypotheses) if not hypothesis.done]
    if not rows:
        return [()] * len(hypotheses)
    prediction, states = networks.start(len(rows))
    biased = any(biases)
    before_trial: dict[int, tuple[Floats, Floats, Floats]] = {}
    """By row: prediction [J], hidden and cell state [layers, H]."""
    while True:
        logits = networks.joint(_ahead(frames, rows, hypotheses, look_ahead), prediction)
        emitted = [_take(hypotheses[row], ahead) for row, ahead in zip(rows, logits, strict=True)]
        if biased:
            for i, row in enumerate(rows):
                if not hypotheses[row].on_trial:
                    continue
                if emitted[i] and hypotheses[row].begins_trial:
                    before_trial[row] = _copied(prediction, states, i)
                if hypotheses[row].take_back():
                    prediction[i], states[0][:, i], states[1][:, i] = before_trial[row]
                    emitted[i] = True
        going = [i for i, row in enumerate(rows) if not hypotheses[row].done]
        if not going:
            return [tuple(hypothesis.tokens) for hypothesis in hypotheses]
        if len(going) < len(rows):
            rows = [rows[i] for i in going]
            emitted = [emitted[i] for i in going]
            prediction, states = prediction[going], _of(states, going)
        changed = [i for i, row_emitted in enumerate(emitted) if row_emitted]
        if changed:
            tokens = np.array([hypotheses[rows[i]].tokens[-1].id for i in changed], np.int64)
            if len(changed) == len(rows):
                prediction, states = networks.predict(tokens, states)
            else:
                prediction[changed], after = networks.predict(tokens, _of(states, changed))
                for before, new in zip(states, after, strict=True):
                    before[:, changed] = new


def _ahead(frames: Floats, rows: list[int], hypotheses: list[Hypothesis], count: int) -> Floats:
    """The next `count` projected frames of each of these rows; what lies past the end is looked at by nobody."""
    if len(rows) == 1:
        # A view: the usual case costs no copy.
        [row] = rows
        first = hypotheses[row].frame
        return frames[row : row + 1, first : min(first + count, hypotheses[row].frames)]
    places = np.array([hypotheses[row].frame for row in rows])[:, None] + np.arange(count)
    ahead: Floats = frames[np.array(rows)[:, None], np.minimum(places, frames.shape[1] - 1)]
    return ahead


def _take(hypothesis: Hypothesis, ahead: Floats) -> bool:
    """Follow a hypothesis through the logits of the frames ahead, [N, V + 1 + D]; True when a token ended that."""
    first = hypothesis.frame
    end = min(first + len(ahead), hypothesis.frames)
    while hypothesis.frame < end:
        if hypothesis.advance(ahead[hypothesis.frame - first]):
            return True
    return False


def _copied(prediction: Floats, states: States, i: int) -> tuple[Floats, Floats, Floats]:
    return prediction[i].copy(), states[0][:, i].copy(), states[1][:, i].copy()


def _of(states: States, rows: list[int]) -> States:
    return states[0][:, rows], states[1][:, rows]
