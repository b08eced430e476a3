from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parakeetd.audio import SAMPLE_RATE
from parakeetd.model.buckets import STEP, USUAL, bucket, is_unusual, padded, usual_buckets

lengths = st.integers(1, 600 * SAMPLE_RATE)


@given(lengths)
def test_padding_is_at_most_a_step_or_an_eighth_of_the_audio(samples: int) -> None:
    assert samples <= bucket(samples) <= samples + max(STEP, samples / 8)


@given(lengths)
def test_a_bucket_is_its_own_bucket(samples: int) -> None:
    assert bucket(bucket(samples)) == bucket(samples)


@given(lengths, lengths)
def test_longer_audio_never_has_a_shorter_bucket(one: int, other: int) -> None:
    assert bucket(min(one, other)) <= bucket(max(one, other))


def test_all_audio_up_to_20_seconds_falls_into_few_buckets() -> None:
    assert len({bucket(samples) for samples in range(1, 20 * SAMPLE_RATE, 100)}) <= 32


def test_warming_up_takes_every_usual_bucket_the_longest_first() -> None:
    assert usual_buckets() == sorted(
        {bucket(samples) for samples in range(1, USUAL + 1, 100)} | {USUAL}, reverse=True
    )


def test_a_gpu_keeps_the_memory_of_eight_long_utterances_and_a_cpu_that_of_one() -> None:
    long = 20 * SAMPLE_RATE
    assert not is_unusual(8 * bucket(long), "cuda")
    assert is_unusual(8 * 60 * SAMPLE_RATE, "cuda")
    assert not is_unusual(long, "cpu")
    assert is_unusual(2 * long, "cpu")


def test_what_a_gpu_is_warmed_up_for_is_kept() -> None:
    assert not is_unusual(USUAL, "cuda")


@given(lengths, lengths)
def test_nothing_is_padded_beyond_what_the_model_takes_or_cut(samples: int, most: int) -> None:
    assert samples <= padded(samples, most) <= max(samples, most)
    assert padded(samples, most) in (samples, most, bucket(samples))
