"""Greedy decoding of a token-and-duration transducer (TDT).

The algorithm is that of H. Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and
Durations" (ICML 2023), with the rules that NeMo's greedy decoder adds so that it always ends: a blank advances at
least one frame, and after `max_symbols` tokens at one frame the next frame is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from parakeetd.model.transcript import Token

Floats = NDArray[np.float32]
State = TypeVar("State")


class Steps(Protocol[State]):
    """The two networks the loop is made of. `State` is what the tokens so far mean to the prediction network."""

    def start(self) -> State:
        """The state of the empty hypothesis."""
        ...

    def joint(self, frame: int, state: State) -> Floats:
        """Logits [V + 1 + D] of an encoder frame and a hypothesis: V tokens, blank, D durations."""
        ...

    def predict(self, token: int, state: State) -> State:
        """The state after one more token."""
        ...


def greedy(
    frames: int, steps: Steps[State], *, blank: int, durations: Sequence[int], max_symbols: int
) -> tuple[Token, ...]:
    """The greedy hypothesis over encoder frames 0 to `frames` - 1.

    Args:
        blank: index of blank, which is also the number of text tokens.
        durations: frames each duration output advances, in the order of the joint's last outputs.
        max_symbols: most tokens emitted at one frame.
    """
    tokens: list[Token] = []
    state = steps.start()
    frame = at_this_frame = 0
    while frame < frames:
        logits = steps.joint(frame, state)
        scores = logits[: blank + 1]
        best = int(scores.argmax())
        duration = durations[int(logits[blank + 1 :].argmax())]
        if best == blank:
            duration = max(1, duration)
        else:
            tokens.append(Token(best, frame, duration, softmax_probability(scores, best)))
            state = steps.predict(best, state)
            at_this_frame += 1
            if duration == 0 and at_this_frame >= max_symbols:
                # The frame is used up, but the token's own duration stays what the model said.
                frame, at_this_frame = frame + 1, 0
        if duration:
            frame, at_this_frame = frame + duration, 0
    return tuple(tokens)


def softmax_probability(scores: Floats, index: int) -> float:
    """softmax(scores)[index], computed in float64 against overflow."""
    exponentials = np.exp(scores.astype(np.float64) - float(scores.max()))
    return float(exponentials[index] / exponentials.sum())
