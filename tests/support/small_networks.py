"""Prediction network and joint of small whole numbers, and the two greedy searches over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parakeetd.model import tdt, tdt_batch
from parakeetd.model.biasing import Bias
from parakeetd.model.tdt import Floats
from parakeetd.model.tdt_batch import Integers, States
from parakeetd.model.transcript import Token

BLANK = 5
DURATIONS = (0, 1, 2, 3, 4)
WIDTH = 6


class Small:
    """Networks of small whole numbers, which float32 adds without rounding: equal scores are equal everywhere.

    The state remembers the last token and how many there were, so that a hypothesis that is mixed up with another
    one, or is one token behind, goes another way.
    """

    def __init__(self, seed: int, blanks: int) -> None:
        """
        Args:
            blanks: added to blank's score; the more, the fewer tokens.
        """
        random = np.random.default_rng(seed)
        self.embedding = random.integers(-3, 4, (BLANK + 1, WIDTH)).astype(np.float32)
        self.output = random.integers(-3, 4, (WIDTH, BLANK + 1 + len(DURATIONS))).astype(np.float32)
        self.blanks = blanks
        self.predicted: list[int] = []
        self.looked_at: list[tuple[int, ...]] = []

    def start(self, rows: int) -> tuple[Floats, States]:
        zeros = np.zeros((1, rows, WIDTH), np.float32)
        prediction, states = self._predict(np.full(rows, BLANK), (zeros, zeros))
        return prediction, states

    def predict(self, tokens: Integers, states: States) -> tuple[Floats, States]:
        self.predicted.append(len(tokens))
        return self._predict(tokens, states)

    def _predict(self, tokens: Integers, states: States) -> tuple[Floats, States]:
        hidden = self.embedding[tokens][None] - np.roll(states[0], 1, axis=2)
        hidden = np.clip(hidden, -4, 4)
        cell = states[1] + 1
        prediction = hidden[0] + cell[0] % 3
        return prediction, (hidden, cell)

    def joint(self, frames: Floats, prediction: Floats) -> Floats:
        self.looked_at.append(frames.shape[:2])
        logits: Floats = np.maximum(frames + prediction[:, None], 0) @ self.output
        logits[..., BLANK] += self.blanks
        return logits


class OneRow:
    """The same networks as `tdt.greedy` wants them."""

    def __init__(self, networks: Small, frames: Floats) -> None:
        self.networks = networks
        self.frames = frames

    def start(self) -> tuple[Floats, States]:
        return self.networks.start(1)

    def joint(self, frame: int, state: tuple[Floats, States]) -> Floats:
        logits: Floats = self.networks.joint(self.frames[None, frame : frame + 1], state[0])[0, 0]
        return logits

    def predict(self, token: int, state: tuple[Floats, States]) -> tuple[Floats, States]:
        return self.networks.predict(np.array([token]), state[1])


def plain(
    networks: Small,
    frames: Floats,
    lengths: Sequence[int],
    most: int = 10,
    biases: Sequence[Bias | None] = (),
) -> list[tuple[Token, ...]]:
    return [
        tdt.greedy(
            length, OneRow(networks, row), blank=BLANK, durations=DURATIONS, max_symbols=most, bias=bias
        )
        for row, length, bias in zip(frames, lengths, biases or [None] * len(lengths), strict=True)
    ]


def together(
    networks: Small,
    frames: Floats,
    lengths: Sequence[int],
    look_ahead: int,
    most: int = 10,
    biases: Sequence[Bias | None] = (),
) -> list[tuple[Token, ...]]:
    return tdt_batch.greedy(
        frames,
        lengths,
        networks,
        blank=BLANK,
        durations=DURATIONS,
        max_symbols=most,
        look_ahead=look_ahead,
        biases=biases,
    )


def places(hypotheses: list[tuple[Token, ...]]) -> list[list[tuple[int, int, int]]]:
    return [[(token.id, token.frame, token.duration) for token in tokens] for tokens in hypotheses]


def encoded(seed: int, rows: int, frames: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(-4, 5, (rows, frames, WIDTH)).astype(np.float32)
