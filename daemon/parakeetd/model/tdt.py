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
        "_at_this_frame",
        "_before_trial",
        "_blank",
        "_durations",
        "_instead",
        "_max_symbols",
        "_steering",
        "begins_trial",
        "frame",
        "frames",
        "on_trial",
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
        self.on_trial = False
        """Whether tokens were emitted for a phrase's sake that may have to be taken back."""
        self.begins_trial = False
        """Whether the last token was the first of a trial: the caller keeps the state before it."""
        self._instead: Token | None = None
        """What would have been emitted in place of a trial's first token."""
        self._before_trial = (0, 0)
        """How many tokens there were, and how many of them at the frame, when it began."""

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
        plain = token
        if self._steering is not None:
            others = total - 1.0 if token == best else math.inf
            token = self._steering.boosted(scores, token, others=others)
            self.on_trial, self.begins_trial = self._steering.on_trial, self._steering.begun
            if self.begins_trial:
                confidence = float(likelihoods[plain]) / total
                self._instead = Token(plain, self.frame, duration, confidence)
                self._before_trial = (len(self.tokens), self._at_this_frame)
        self._emit(Token(token, self.frame, duration, float(likelihoods[token]) / total))
        return True

    def _emit(self, token: Token) -> None:
        self.tokens.append(token)
        self._at_this_frame += 1
        # When the frame is used up, the token's own duration stays what the model said.
        used_up = self._at_this_frame >= self._max_symbols
        if token.duration or used_up:
            self._move(token.duration or 1)

    def take_back(self) -> bool:
        """Return to the trial's beginning if its phrase can come no more, and emit the token without phrases; True when
        that was done, and the caller has to go on from the state before the trial with this token."""
        steering, instead = self._steering, self._instead
        if not self.on_trial or steering is None or instead is None or not (steering.failed or self.done):
            return False
        count, self._at_this_frame = self._before_trial
        del self.tokens[count:]
        self.frame = instead.frame
        self._emit(instead)
        steering.take_back(instead.id)
        self.on_trial = self.begins_trial = False
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
            state, emitted = before_trial, True
        if emitted:
            state = steps.predict(hypothesis.tokens[-1].id, state)
    return tuple(hypothesis.tokens)
