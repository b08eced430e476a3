"""The greedy TDT loop by itself, with scripted networks. Its agreement with NeMo is tested on the shipped clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.model import tdt
from parakeetd.model.transcript import Token

DURATIONS = (0, 1, 2, 3, 4)
BLANK = 3
"""Tokens 0, 1 and 2, then blank."""


class Scripted:
    """Networks that emit, at each frame, a list of (token, duration) one after the other, then blank of 1."""

    def __init__(self, script: dict[int, list[tuple[int, int]]]) -> None:
        self.script = script
        self.visited: list[int] = []

    def start(self) -> tuple[int, ...]:
        return ()

    def joint(self, frame: int, state: tuple[int, ...]) -> tdt.Floats:
        self.visited.append(frame)
        steps = self.script.get(frame, [])
        emitted = self.visited.count(frame) - 1
        token, duration = steps[emitted] if emitted < len(steps) else (BLANK, 1)
        logits = np.zeros(BLANK + 1 + len(DURATIONS), np.float32)
        logits[token] = logits[BLANK + 1 + DURATIONS.index(duration)] = 5.0
        return logits

    def predict(self, token: int, state: tuple[int, ...]) -> tuple[int, ...]:
        return (*state, token)


def decode(steps: Scripted, frames: int, max_symbols: int = 10) -> list[tuple[int, int, int]]:
    tokens = tdt.greedy(frames, steps, blank=BLANK, durations=DURATIONS, max_symbols=max_symbols)
    return [(token.id, token.frame, token.duration) for token in tokens]


def test_a_token_advances_by_its_duration() -> None:
    steps = Scripted({0: [(1, 3)], 3: [(2, 4)]})
    assert decode(steps, frames=8) == [(1, 0, 3), (2, 3, 4)]
    assert steps.visited == [0, 3, 7]


def test_a_token_of_duration_zero_stays_at_its_frame() -> None:
    assert decode(Scripted({2: [(0, 0), (1, 0), (2, 1)]}), frames=4) == [(0, 2, 0), (1, 2, 0), (2, 2, 1)]


def test_a_blank_of_duration_zero_advances_one_frame() -> None:
    steps = Scripted({0: [(BLANK, 0)], 1: [(BLANK, 0)]})
    assert decode(steps, frames=3) == []
    assert steps.visited == [0, 1, 2]


def test_a_blank_skips_frames_by_its_duration() -> None:
    steps = Scripted({0: [(BLANK, 4)], 2: [(1, 1)], 4: [(2, 1)]})
    assert decode(steps, frames=5) == [(2, 4, 1)]


def test_after_the_most_symbols_at_one_frame_the_next_frame_is_taken() -> None:
    steps = Scripted({0: [(1, 0)] * 50, 1: [(2, 1)]})
    assert decode(steps, frames=2, max_symbols=3) == [(1, 0, 0)] * 3 + [(2, 1, 1)]


def test_a_duration_may_reach_beyond_the_last_frame() -> None:
    assert decode(Scripted({1: [(1, 4)]}), frames=2) == [(1, 1, 4)]


def test_no_frames_give_no_tokens() -> None:
    steps = Scripted({})
    assert decode(steps, frames=0) == []
    assert steps.visited == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5))
def test_any_networks_end_with_ordered_tokens_within_the_limits(
    seed: int, frames: int, max_symbols: int
) -> None:
    random = np.random.default_rng(seed)

    class Noise:
        def start(self) -> int:
            return 0

        def joint(self, frame: int, state: int) -> tdt.Floats:
            return random.standard_normal(BLANK + 1 + len(DURATIONS)).astype(np.float32)

        def predict(self, token: int, state: int) -> int:
            return state + 1

    tokens = tdt.greedy(frames, Noise(), blank=BLANK, durations=DURATIONS, max_symbols=max_symbols)
    places = [token.frame for token in tokens]
    assert places == sorted(places)
    assert all(0 <= token.frame < frames and token.id != BLANK for token in tokens)
    assert all(places.count(frame) <= max_symbols for frame in places)
    assert all(0 < token.confidence <= 1 for token in tokens)


def test_confidence_is_the_softmax_over_tokens_and_blank() -> None:
    hypothesis = tdt.Hypothesis(1, blank=1, durations=(1,), max_symbols=10)
    assert hypothesis.advance(np.array([1000.0, 999.0, 0.0], np.float32))
    assert hypothesis.tokens[0].confidence == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-6)


def test_durations_do_not_count_towards_a_tokens_confidence() -> None:
    [token] = tdt.greedy(1, Scripted({0: [(1, 1)]}), blank=BLANK, durations=DURATIONS, max_symbols=10)
    assert isinstance(token, Token)
    assert token.confidence == pytest.approx(np.exp(5) / (np.exp(5) + 3), rel=1e-5)
