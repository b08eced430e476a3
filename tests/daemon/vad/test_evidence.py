from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parakeetd.audio import Samples
from parakeetd.errors import ConfigError
from parakeetd.vad.evidence import CONTEXT, KEPT_WINDOWS, WINDOW, Evidence, Wanted, Windows

FRAME_SECONDS = 0.02
THRESHOLD = 0.6


def evidence(*probabilities: float) -> Evidence:
    made = Evidence(THRESHOLD)
    if probabilities:
        made.add(probabilities)
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
        odd.add([0.0, 0.0, 0.0, 0.0, 0.0])
        for _ in range(15):
            odd.judge(FRAME_SECONDS, heard=True)
        odd.add([0.3, 0.4, 0.4, 0.3, 0.3])
        for _ in range(15):
            odd.judge(FRAME_SECONDS, heard=True)
    assert after_quiet(odd)


def test_what_was_heard_in_vain_is_forgotten_in_time() -> None:
    noisy = evidence(0.0, 0.0)
    for _ in range(30):
        noisy.judge(FRAME_SECONDS, heard=True)
    after_quiet(noisy, seconds=10.0)
    noisy.add([0.3, 0.4, 0.4, 0.3, 0.3])
    noisy.judge(FRAME_SECONDS, heard=True)
    assert after_quiet(noisy)


def test_the_end_of_the_stream_counts_as_quiet() -> None:
    assert evidence(0.3, 0.4, 0.4, 0.3, 0.3).ended()
    assert not evidence(0.1, 0.1, 0.1, 0.1, 0.1).ended()


def test_probabilities_on_both_sides_of_a_gap_are_not_added_up() -> None:
    interrupted = evidence(0.9, 0.9, 0.9)
    interrupted.forget()
    interrupted.add([0.9, 0.9])
    assert not interrupted.judge(FRAME_SECONDS, heard=True).confirmed


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.5, float("nan")])
def test_an_impossible_threshold_is_refused_by_name(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"vad\.confirm_threshold"):
        Evidence(wrong)


FRAME = 320


def frames(samples: Samples) -> Samples:
    return samples.reshape(-1, FRAME)


def windows_of(samples: Samples) -> NDArray[np.float32]:
    """What is wanted when something is heard at the end only."""
    every = frames(samples)
    return Windows().push(every, [False] * (len(every) - 1) + [True])[0]


@given(st.lists(st.booleans(), min_size=1, max_size=150), st.data())
def test_windows_do_not_depend_on_how_many_frames_come_at_once(
    heard: list[bool], data: st.DataObject
) -> None:
    samples = frames(np.random.default_rng(1).normal(0, 0.01, len(heard) * FRAME).astype(np.float32))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(heard)), max_size=10)))
    whole, wanted = Windows().push(samples, heard)
    pieces = Windows()
    found, wanted_in_pieces = [], []
    for first, last in pairwise([0, *cuts, len(heard)]):
        windows, some = pieces.push(samples[first:last], heard[first:last])
        found.append(windows)
        wanted_in_pieces += some
    assert wanted_in_pieces == wanted
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_windows_follow_one_another_with_what_came_before_them() -> None:
    taken = windows_of(np.full(5 * FRAME, 0.5, np.float32))
    assert taken.shape == (3, CONTEXT + WINDOW)
    # At -6 dB the level is left as it is; before the stream there is silence.
    assert not taken[0, :CONTEXT].any()
    np.testing.assert_array_equal(taken[0, CONTEXT:], 0.5)
    np.testing.assert_array_equal(taken[1:], 0.5)


def test_a_frame_wants_the_windows_that_are_complete_with_it() -> None:
    """Windows of 512 samples, frames of 320: the first is complete with the second frame, the third with the fifth."""
    _, wanted = Windows().push(frames(np.zeros(5 * FRAME, np.float32)), [True, True, False, False, True])
    assert [want.windows for want in wanted] == [0, 1, 0, 0, 2]
    assert not any(want.gap for want in wanted[2:])


def test_old_windows_are_dropped_and_the_gap_is_told() -> None:
    windows = Windows()

    def heard_after(count: int) -> tuple[int, Wanted]:
        taken, wanted = windows.push(np.zeros((count, WINDOW), np.float32), [False] * (count - 1) + [True])
        return len(taken), wanted[-1]

    # Nothing came before the first.
    assert heard_after(KEPT_WINDOWS) == (KEPT_WINDOWS, Wanted(KEPT_WINDOWS, gap=True))
    assert heard_after(KEPT_WINDOWS) == (KEPT_WINDOWS, Wanted(KEPT_WINDOWS, gap=False))
    assert heard_after(KEPT_WINDOWS + 1) == (KEPT_WINDOWS, Wanted(KEPT_WINDOWS, gap=True))


def test_a_soft_voice_is_brought_to_the_level_of_a_usual_one() -> None:
    tone = np.sin(np.arange(40 * WINDOW) * 0.3).astype(np.float32)
    levels = [
        float(np.sqrt(np.mean(np.square(windows_of(tone * np.float32(gain))[-1])))) for gain in (0.1, 0.01)
    ]
    # -20 dB of full scale is 0.1; the steps of the gain are exact.
    assert levels == pytest.approx([0.1, 0.1], rel=0.02)


def test_the_gain_has_a_limit() -> None:
    # 30 dB.
    assert windows_of(np.full(2 * FRAME, 1e-4, np.float32)).max() == pytest.approx(1e-4 * 10**1.5, rel=1e-3)
