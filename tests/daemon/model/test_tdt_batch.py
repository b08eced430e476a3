"""A batch's hypotheses against those of the plain loop, row by row, over small networks whose arithmetic is exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.model.tdt import Floats
from small_networks import BLANK, DURATIONS, Small, encoded, places, plain, together


@pytest.mark.parametrize("look_ahead", [1, 2, 4, 8])
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 24), min_size=1, max_size=8),
    blanks=st.integers(-2, 12),
    most=st.integers(1, 4),
)
def test_a_batch_gives_what_the_plain_loop_gives_for_each_row(
    look_ahead: int, seed: int, lengths: list[int], blanks: int, most: int
) -> None:
    frames = encoded(seed, len(lengths), max(1, *lengths))
    networks = Small(seed, blanks)
    expected = plain(networks, frames, lengths, most)
    found = together(networks, frames, lengths, look_ahead, most)
    assert places(found) == places(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # float32 rounds to 6e-8 of the value; the sums here have six terms.
        assert [t.confidence for t in ours] == pytest.approx([t.confidence for t in theirs], rel=1e-6)


def test_the_small_networks_emit_tokens_with_every_duration_and_blanks() -> None:
    """Otherwise the property above would say little."""
    lengths = [24] * 8
    tokens = [
        token
        for seed in range(20)
        for row in together(Small(seed, 3), encoded(seed, 8, 24), lengths, 4)
        for token in row
    ]
    assert {token.duration for token in tokens} == set(DURATIONS)
    assert 100 < len(tokens) < 20 * 8 * 24


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_rows_of_no_frames_have_no_tokens_and_run_no_network(rows: int) -> None:
    networks = Small(0, 0)
    assert together(networks, encoded(0, rows, 1), [0] * rows, 4) == [()] * rows
    assert (networks.looked_at, networks.predicted) == ([], [])


@given(seed=st.integers(0, 2**32 - 1), look_ahead=st.sampled_from([1, 2, 4, 8]))
def test_the_prediction_network_runs_once_for_each_token_but_a_rows_last(seed: int, look_ahead: int) -> None:
    networks = Small(seed, 4)
    hypotheses = together(networks, encoded(seed, 5, 20), [20, 3, 0, 11, 20], look_ahead)
    emitted = sum(len(tokens) for tokens in hypotheses)
    assert emitted - sum(bool(tokens) for tokens in hypotheses) <= sum(networks.predicted) <= emitted


def test_frames_of_blanks_are_looked_at_several_in_one_product() -> None:
    for look_ahead, products in ((1, 24), (4, 6), (8, 3)):
        networks = Small(0, 1000)
        networks.output[:, BLANK + 1 :] = 0  # the first duration, 0: a blank advances one frame
        assert together(networks, encoded(0, 1, 24), [24], look_ahead) == [()]
        assert len(networks.looked_at) == products
        assert networks.predicted == []


def test_a_row_that_is_done_is_not_computed_any_more() -> None:
    networks = Small(0, 1000)
    networks.output[:, BLANK + 1 :] = 0
    together(networks, encoded(0, 3, 20), [2, 20, 10], 1)
    rows = [shape[0] for shape in networks.looked_at]
    assert rows == [3] * 2 + [2] * 8 + [1] * 10


def test_a_token_is_looked_for_with_the_new_hypothesis_right_away() -> None:
    """The frames ahead were looked at with a hypothesis that a token ended."""

    class OnceThenBlank(Small):
        started = np.float32(0)

        def joint(self, frames: Floats, prediction: Floats) -> Floats:
            logits = super().joint(frames, prediction)
            logits[:] = 0
            # Token 1 of duration 1 while there is no token; then blank of duration 1.
            logits[..., 1 if prediction[0, 0] == self.started else BLANK] = 9
            logits[..., BLANK + 2] = 9
            return logits

    networks = OnceThenBlank(3, 0)
    networks.started = networks.start(1)[0][0, 0]
    assert networks.predict(np.array([1]), networks.start(1)[1])[0][0, 0] != networks.started
    assert places(together(networks, encoded(3, 1, 8), [8], 8)) == [[(1, 0, 1)]]
