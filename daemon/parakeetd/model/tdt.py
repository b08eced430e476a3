"""Greedy decoding of a token-and-duration transducer (TDT), one piece of audio.

The algorithm is that of H. Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and
Durations" (ICML 2023), with the rules that NeMo's greedy decoder adds so that it always ends: a blank advances at
least one frame, and after `max_symbols` tokens at one frame the next frame is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from parakeetd.model.biasing import Bias
from parakeetd.model.transcript import Token

Floats = NDArray[np.float32]
State = TypeVar("State")


class Hypothesis:
    """The tokens of one piece so far, and the encoder frame that is looked at next."""

    __slots__ = (
        "_at_the_trial",
        "_at_this_frame",
        "_blank",
        "_durations",
        "_max_symbols",
        "_steering",
        "frame",
        "frames",
        "tokens",
    )

    def __init__(
        self, frames: int, *, blank: int, durations: Sequence[int], max_symbols: int, bias: Bias | None = None
    ) -> None:
        """
        Args:
            frames: encoder frames of the piece.
            blank: index of blank, which is also the number of text tokens.
            durations: frames each duration output advances, in the order of the joint's last outputs.
            max_symbols: most tokens emitted at one frame.
            bias: how the choice of tokens is changed, if it is.
        """
        self.frame = 0
        self.frames = frames
        self.tokens: list[Token] = []
        self._at_this_frame = 0
        self._blank = blank
        self._durations = durations
        self._max_symbols = max_symbols
        self._steering = None if bias is None else bias.steering()
        self._at_the_trial = (0, 0, 0)
        """Tokens, frame and tokens at this frame when it began."""

    @property
    def done(self) -> bool:
        return self.frame >= self.frames

    def advance(self, logits: Floats) -> bool:
        """Take the joint's logits [V + 1 + D] at `frame`; True when they emit a token."""
        scores = logits[: self._blank + 1]
        best = int(scores.argmax())
        token = (
            best if self._steering is None or self._steering.open else self._steering.allowed(scores, best)
        )
        duration = self._durations[int(logits[self._blank + 1 :].argmax())]
        if token == self._blank:
            self._move(max(1, duration))
            return False
        # The highest score is subtracted against overflow.
        likelihoods = scores - scores[best]
        total = float(np.exp(likelihoods, out=likelihoods).sum())
        if self._steering is not None:
            others = total - 1.0 if token == best else math.inf
            token = self._steering.boosted(scores, token, others=others)
            if self._steering.begun:
                self._at_the_trial = (len(self.tokens), self.frame, self._at_this_frame)
        self.tokens.append(Token(token, self.frame, duration, float(likelihoods[token]) / total))
        self._at_this_frame += 1
        # When the frame is used up, the token's own duration stays what the model said.
        used_up = self._at_this_frame >= self._max_symbols
        if duration or used_up:
            self._move(duration or 1)
        return True

    @property
    def on_trial(self) -> bool:
        """Whether tokens were emitted for a phrase's sake that may have to be taken back."""
        return self._steering is not None and self._steering.on_trial

    @property
    def begins_trial(self) -> bool:
        """Whether the last token was the first of a trial: the caller keeps the state before it."""
        return self._steering is not None and self._steering.begun

    def take_back(self) -> bool:
        """Return to before the trial if its phrase can come no more; True when the caller has to return as well."""
        steering = self._steering
        if steering is None or not (steering.failed or (self.done and steering.on_trial)):
            return False
        count, self.frame, self._at_this_frame = self._at_the_trial
        del self.tokens[count:]
        steering.take_back()
        return True

    def _move(self, frames: int) -> None:
        self.frame += frames
        self._at_this_frame = 0


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
    frames: int,
    steps: Steps[State],
    *,
    blank: int,
    durations: Sequence[int],
    max_symbols: int,
    bias: Bias | None = None,
) -> tuple[Token, ...]:
    """The greedy hypothesis over encoder frames 0 to `frames` - 1; the arguments are those of `Hypothesis`."""
    hypothesis = Hypothesis(frames, blank=blank, durations=durations, max_symbols=max_symbols, bias=bias)
    state = before_trial = steps.start()
    while not hypothesis.done:
        emitted = hypothesis.advance(steps.joint(hypothesis.frame, state))
        if emitted and hypothesis.begins_trial:
            before_trial = state
        if hypothesis.take_back():
            state = before_trial
        elif emitted:
            state = steps.predict(hypothesis.tokens[-1].id, state)
    return tuple(hypothesis.tokens)
