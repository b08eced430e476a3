from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.errors import ConfigError
from parakeetd.vad.evidence import CONTEXT, KEPT_WINDOWS, WINDOW, Evidence, Windows

FRAME_SECONDS = 0.02
THRESHOLD = 0.6


def evidence(*probabilities: float) -> Evidence:
    made = Evidence(THRESHOLD)
    if probabilities:
        made.add(np.array(probabilities, np.float32))
    return made


def after_quiet(made: Evidence, seconds: float = 0.2) -> bool:
    """Whether the quiet that follows confirms what was heard."""
    return any(
        made.judge(FRAME_SECONDS, heard=False).confirmed for _ in range(round(seconds / FRAME_SECONDS))
    )


def test_a_syllable_confirms_at_once() -> None:
    verdict = evidence(0.9, 0.9, 0.9, 0.9, 0.9).judge(FRAME_SECONDS, heard=True)
    assert (verdict.possible, verdict.confirmed) == (True, True)


def test_a_single_window_confirms_nothing_but_is_possible() -> None:
    verdict = evidence(0.0, 0.0, 0.0, 0.0, 1.0).judge(FRAME_SECONDS, heard=True)
    assert (verdict.possible, verdict.confirmed) == (True, False)


def test_what_the_model_rules_out_is_not_possible() -> None:
    verdict = evidence(0.05, 0.05).judge(FRAME_SECONDS, heard=True)
    assert (verdict.possible, verdict.confirmed) == (False, False)


def test_what_no_detector_heard_is_never_possible() -> None:
    assert not evidence(1.0, 1.0, 1.0, 1.0, 1.0).judge(FRAME_SECONDS, heard=False).possible


def test_a_soft_word_is_confirmed_by_the_quiet_after_it() -> None:
    soft = evidence(0.3, 0.4, 0.4, 0.3, 0.3)
    assert not soft.judge(FRAME_SECONDS, heard=True).confirmed
    assert after_quiet(soft)


def test_quiet_confirms_once() -> None:
    soft = evidence(0.3, 0.4, 0.4, 0.3, 0.3)
    assert after_quiet(soft)
    assert not after_quiet(soft)
    assert not soft.judge(FRAME_SECONDS, heard=True).confirmed
    assert not after_quiet(soft)


def test_quiet_confirms_nothing_where_the_detector_hears_much_in_vain() -> None:
    noisy = evidence(0.3, 0.4, 0.4, 0.3, 0.3, 0.0, 0.0, 0.0)
    for _ in range(30):
        noisy.judge(FRAME_SECONDS, heard=True)
    assert not after_quiet(noisy)


def test_a_voice_that_is_ruled_out_half_of_the_time_is_still_trusted() -> None:
    odd = evidence()
    for _ in range(3):
        odd.add(np.array([0.0, 0.0, 0.0, 0.0, 0.0], np.float32))
        for _ in range(15):
            odd.judge(FRAME_SECONDS, heard=True)
        odd.add(np.array([0.3, 0.4, 0.4, 0.3, 0.3], np.float32))
        for _ in range(15):
            odd.judge(FRAME_SECONDS, heard=True)
    assert after_quiet(odd)


def test_what_was_heard_in_vain_is_forgotten_in_time() -> None:
    noisy = evidence(0.0, 0.0)
    for _ in range(30):
        noisy.judge(FRAME_SECONDS, heard=True)
    after_quiet(noisy, seconds=10.0)
    noisy.add(np.array([0.3, 0.4, 0.4, 0.3, 0.3], np.float32))
    noisy.judge(FRAME_SECONDS, heard=True)
    assert after_quiet(noisy)


def test_the_end_of_the_stream_counts_as_quiet() -> None:
    assert evidence(0.3, 0.4, 0.4, 0.3, 0.3).ended()
    assert not evidence(0.1, 0.1, 0.1, 0.1, 0.1).ended()


def test_probabilities_on_both_sides_of_a_gap_are_not_added_up() -> None:
    interrupted = evidence(0.9, 0.9, 0.9)
    interrupted.forget()
    interrupted.add(np.array([0.9, 0.9], np.float32))
    assert not interrupted.judge(FRAME_SECONDS, heard=True).confirmed


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.5, float("nan")])
def test_an_impossible_threshold_is_refused_by_name(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"vad\.confirm_threshold"):
        Evidence(wrong)


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=20))
def test_windows_do_not_depend_on_how_the_samples_arrive(sizes: list[int]) -> None:
    samples = np.random.default_rng(1).normal(0, 0.01, sum(sizes)).astype(np.float32)
    once, pieces = Windows(), Windows()
    once.push(samples)
    for piece in np.split(samples, np.cumsum(sizes)[:-1]):
        pieces.push(piece)
    for one, other in zip(once.take(), pieces.take(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_windows_follow_one_another_with_what_came_before_them() -> None:
    windows = Windows()
    windows.push(np.full(3 * WINDOW, 0.5, np.float32))
    taken, _ = windows.take()
    assert taken.shape == (3, CONTEXT + WINDOW)
    # At -6 dB the level is left as it is; before the stream there is silence.
    assert not taken[0, :CONTEXT].any()
    np.testing.assert_array_equal(taken[0, CONTEXT:], 0.5)
    np.testing.assert_array_equal(taken[1:], 0.5)


def test_old_windows_are_dropped_and_the_gap_is_told() -> None:
    windows = Windows()
    windows.push(np.zeros(KEPT_WINDOWS * WINDOW, np.float32))
    assert len(windows.take()[0]) == KEPT_WINDOWS
    windows.push(np.zeros(KEPT_WINDOWS * WINDOW, np.float32))
    assert windows.take()[1] is False
    windows.push(np.zeros((KEPT_WINDOWS + 1) * WINDOW, np.float32))
    taken, gap = windows.take()
    assert (len(taken), gap) == (KEPT_WINDOWS, True)


def test_a_soft_voice_is_brought_to_the_level_of_a_usual_one() -> None:
    tone = np.sin(np.arange(40 * WINDOW) * 0.3).astype(np.float32)
    levels = []
    for gain in (0.1, 0.01):
        windows = Windows()
        windows.push(tone * np.float32(gain))
        levels.append(float(np.sqrt(np.mean(np.square(windows.take()[0][-1])))))
    # -20 dB of full scale is 0.1; the steps of the gain are exact.
    assert levels == pytest.approx([0.1, 0.1], rel=0.02)


def test_the_gain_has_a_limit() -> None:
    windows = Windows()
    windows.push(np.full(WINDOW, 1e-4, np.float32))
    # 30 dB.
    assert windows.take()[0].max() == pytest.approx(1e-4 * 10**1.5, rel=1e-3)
