from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.session import Cutter, Segment
from parakeetd.session.cutter import MAX_TOGETHER
from parakeetd.session.tape import Tape
from parakeetd.vad import EverythingIsSpeech, Segmentation


class LoudIsSpeech:
    """A detector whose answers can be read off the samples."""

    frame_samples = 320
    hangover_frames = 0

    def are_speech(self, frames: Samples) -> list[bool]:
        return [bool(np.abs(frame).max() > 0.5) for frame in frames]


def speech(seconds: float) -> Samples:
    """Loud, and every sample different, so that a test sees which ones a segment holds."""
    return np.linspace(0.6, 0.9, round(seconds * SAMPLE_RATE), dtype=np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


STREAM = np.concatenate([silence(1.0), speech(2.0), silence(1.5), speech(0.71), silence(0.3), speech(1.0)])


def place(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def cut(cutter: Cutter, chunks: list[Samples]) -> list[Segment]:
    return [segment for chunk in chunks for segment in cutter.feed(chunk)] + cutter.finish()


def test_segments_hold_exactly_the_samples_of_their_place() -> None:
    segments = cut(Cutter(LoudIsSpeech(), Segmentation()), [STREAM])
    assert [(round(s.start, 2), round(s.end, 2)) for s in segments] == [(0.7, 3.6), (4.2, 6.51)]
    for segment in segments:
        first = round(segment.start * SAMPLE_RATE)
        np.testing.assert_array_equal(segment.samples, STREAM[first : first + len(segment.samples)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9000), max_size=30))
def test_the_size_of_the_chunks_does_not_matter(sizes: list[int]) -> None:
    chunks = np.split(STREAM, np.minimum(np.cumsum(sizes, dtype=int), len(STREAM)))
    once = cut(Cutter(LoudIsSpeech(), Segmentation()), [STREAM])
    pieces = cut(Cutter(LoudIsSpeech(), Segmentation()), list(chunks))
    assert [(s.start, s.end) for s in pieces] == [(s.start, s.end) for s in once]
    for piece, whole in zip(pieces, once, strict=True):
        np.testing.assert_array_equal(piece.samples, whole.samples)


class Counting(LoudIsSpeech):
    def __init__(self) -> None:
        self.calls = 0

    def are_speech(self, frames: Samples) -> list[bool]:
        self.calls += 1
        return super().are_speech(frames)


Seen = tuple[list[tuple[float, float]], tuple[float, float] | None]


def seen(cutter: Cutter, chunks: list[Samples]) -> list[Seen]:
    """Segments that each chunk completed, and what was pending after it."""
    return [([(s.start, s.end) for s in cutter.feed(chunk)], cutter.pending) for chunk in chunks]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 200)), max_size=20),
    st.lists(st.integers(0, 9000), min_size=1, max_size=30),
    st.builds(
        Segmentation,
        end_silence_ms=st.integers(100, 1_500),
        end_threshold=st.sampled_from([1.0, 0.7]),
        trailing_pad_ms=st.integers(0, 1_500),
        max_segment_ms=st.integers(2_000, 5_000),
    ),
)
def test_what_nobody_looks_at_is_cut_into_the_same_segments_with_the_same_messages(
    runs: list[tuple[bool, int]], sizes: list[int], segmentation: Segmentation
) -> None:
    stream = np.concatenate([speech(0), *((speech if loud else silence)(n / 100) for loud, n in runs)])
    bounds = np.cumsum(np.resize(sizes, 1 + len(stream) // (1 + max(sizes))))
    chunks = list(np.split(stream, np.minimum(bounds, len(stream))))
    shown, unseen = (Cutter(LoudIsSpeech(), segmentation, shown=shown) for shown in (True, False))
    assert seen(unseen, chunks) == seen(shown, chunks)
    for one, other in zip(unseen.finish(), shown.finish(), strict=True):
        assert one.start == other.start
        np.testing.assert_array_equal(one.samples, other.samples)


@pytest.mark.parametrize("detected", [speech, silence])
def test_what_nobody_looks_at_is_judged_in_pieces_of_half_a_second(
    detected: Callable[[float], Samples],
) -> None:
    calls = {}
    for shown in (True, False):
        detector = Counting()
        cutter = Cutter(detector, Segmentation(), shown=shown)
        for _ in range(100):
            cutter.feed(detected(0.1))
        calls[shown] = detector.calls
        # And no more is kept for it.
        assert cutter._tape.end - cutter._judged <= MAX_TOGETHER
    assert calls[True] == 100
    assert calls[False] <= 100 / 5


def test_segments_that_may_end_early_are_judged_at_once_though_nobody_looks() -> None:
    detector = Counting()
    cutter = Cutter(detector, Segmentation(early_end_ms=300), shown=False)
    for _ in range(10):
        cutter.feed(speech(0.1))
    assert detector.calls == 10


def test_without_detection_a_recording_is_one_segment_to_its_last_sample() -> None:
    [segment] = cut(Cutter(EverythingIsSpeech(), Segmentation()), [STREAM[:30_011]])
    np.testing.assert_array_equal(segment.samples, STREAM[:30_011])


def test_without_detection_no_sample_is_lost_or_doubled_at_a_cut() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 50 * SAMPLE_RATE + 7).astype(np.float32)
    segments = cut(Cutter(EverythingIsSpeech(), Segmentation()), [samples])
    assert len(segments) >= 3
    assert all(len(segment.samples) <= 20 * SAMPLE_RATE for segment in segments)
    own = [samples[place(s.seam_before or s.start) : place(s.seam_after or s.end)] for s in segments]
    np.testing.assert_array_equal(np.concatenate(own), samples)


def test_both_parts_of_a_cut_hear_beyond_it() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 30 * SAMPLE_RATE).astype(np.float32)
    first, second = cut(Cutter(EverythingIsSpeech(), Segmentation(overlap_ms=1_200)), [samples])
    assert first.seam_after == second.seam_before
    assert first.seam_after is not None
    assert first.end == pytest.approx(first.seam_after + 1.2)
    assert second.start == pytest.approx(first.seam_after - 1.2)
    for segment in (first, second):
        np.testing.assert_array_equal(segment.samples, samples[place(segment.start) : place(segment.end)])


def test_a_pending_segment_is_the_one_that_comes_if_the_silence_lasts() -> None:
    cutter = Cutter(LoudIsSpeech(), Segmentation(trailing_pad_ms=400))
    cutter.feed(np.concatenate([silence(1.0), speech(2.0), silence(0.38)]))
    assert cutter.pending is None
    cutter.feed(silence(0.02))
    pending = cutter.pending_segment()
    assert pending is not None
    assert cutter.pending == pytest.approx((pending.start, pending.end))
    [final] = cutter.feed(silence(0.5))
    assert (final.start, final.end) == (pending.start, pending.end)
    np.testing.assert_array_equal(final.samples, pending.samples)


def test_a_pending_segment_is_withdrawn_when_speech_resumes() -> None:
    cutter = Cutter(LoudIsSpeech(), Segmentation(trailing_pad_ms=400))
    cutter.feed(np.concatenate([speech(1.0), silence(0.5)]))
    assert cutter.pending is not None
    cutter.feed(speech(0.1))
    assert cutter.pending is None


def test_the_open_segment_can_be_seen_while_it_is_spoken() -> None:
    cutter = Cutter(LoudIsSpeech(), Segmentation())
    cutter.feed(silence(1.0))
    assert cutter.open_segment() is None
    cutter.feed(speech(0.5))
    segment = cutter.open_segment()
    assert segment is not None
    assert (segment.final, round(segment.start, 2), round(segment.end, 2)) == (False, 0.7, 1.5)


def test_audio_that_no_segment_can_need_is_forgotten() -> None:
    cutter = Cutter(LoudIsSpeech(), Segmentation())
    for _ in range(600):
        cutter.feed(silence(1.0))
    assert cutter.seconds == 600
    # Pre-roll, onset window and a frame: half a second, whatever came before.
    assert cutter._tape.end - cutter._tape.start <= SAMPLE_RATE
    assert len(cutter._tape._buffer) <= 4 * SAMPLE_RATE


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 30_000)), max_size=20))
def test_a_tape_holds_what_was_appended_and_not_dropped(steps: list[tuple[int, int]]) -> None:
    tape, everything = Tape(), np.empty(0, np.float32)
    for count, drop_before in steps:
        new = np.arange(len(everything), len(everything) + count, dtype=np.float32)
        everything = np.concatenate([everything, new])
        tape.append(new)
        tape.drop_before(drop_before)
        np.testing.assert_array_equal(tape.view(0, len(everything)), everything[tape.start :])
    assert tape.end == len(everything)
