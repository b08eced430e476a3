from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.resample import MAX_RATE, MIN_RATE, Resampler, resample
from parakeetd.errors import AudioError

RATES = [4000, 8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]

CHUNKING_TOLERANCE = 1e-6
"""Full scale 1.0: streamed and whole conversion run the same filter, so only rounding may differ."""


def tone(rate: int, seconds: float, hertz: float = 440.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    rate=st.sampled_from(RATES),
    length=st.integers(0, 20_000),
    cuts=st.lists(st.integers(0, 20_000), max_size=12),
    seed=st.integers(0, 5),
)
def test_a_stream_cut_anywhere_equals_the_whole(rate: int, length: int, cuts: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    resampler = Resampler(rate)
    edges = [0, *sorted(min(cut, length) for cut in cuts), length]
    pieces = [resampler.feed(samples[a:b]) for a, b in itertools.pairwise(edges)]
    streamed = np.concatenate([*pieces, resampler.finish()])
    whole = resample(samples, rate)
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=CHUNKING_TOLERANCE)


@pytest.mark.parametrize("rate", RATES)
def test_nothing_is_lost_at_the_end(rate: int) -> None:
    for length in (1, 7, rate // 10, rate + 1):
        expected = length * SAMPLE_RATE / rate
        assert abs(len(resample(np.ones(length, np.float32), rate)) - expected) <= 0.5


@pytest.mark.parametrize("rate", RATES)
def test_the_converted_tone_is_the_same_tone_at_the_same_time(rate: int) -> None:
    converted, expected = resample(tone(rate, 1.0), rate), tone(SAMPLE_RATE, 1.0)
    inner = slice(800, -800)  # the filter rings for some milliseconds where the tone begins and ends
    # HQ filters keep the pass band within about 0.01 dB; half a sample of delay would be an error of 0.04.
    np.testing.assert_allclose(converted[inner], expected[inner], atol=1e-3)


def test_frequencies_above_the_new_limit_are_removed() -> None:
    converted = resample(tone(48000, 1.0, hertz=12_000), 48000)
    assert np.abs(converted[800:-800]).max() < 1e-3


def test_samples_at_the_right_rate_pass_untouched() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 999).astype(np.float32)
    np.testing.assert_array_equal(resample(samples, SAMPLE_RATE), samples)


@pytest.mark.parametrize("rate", [-16000, 0, MIN_RATE - 1, MAX_RATE + 1])
def test_a_rate_that_cannot_be_used_is_named(rate: int) -> None:
    with pytest.raises(AudioError, match=f"{rate} Hz"):
        Resampler(rate)
