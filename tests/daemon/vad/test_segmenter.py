from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.errors import ConfigError
from parakeetd.vad import Segmentation, Segmenter, Span
from parakeetd.vad.segmenter import split_point

FRAME_MS = 20
SETTINGS = Segmentation(
    pre_roll_ms=300,
    onset_ms=60,
    onset_window_ms=200,
    end_silence_ms=800,
    trailing_pad_ms=400,
    max_segment_ms=20_000,
)


def cut(flags: str, settings: Segmentation = SETTINGS) -> list[tuple[int, int]]:
    """Spans of a stream written as frames: `#` speech, `.` silence."""
    segmenter = Segmenter(settings, FRAME_MS)
    spans = [segmenter.push(flag == "#", -20.0 if flag == "#" else -60.0) for flag in flags]
    return [(span.start, span.end) for span in [*spans, segmenter.finish()] if span is not None]


def pieces(flags: str, settings: Segmentation) -> list[tuple[int, int, int | None, int | None]]:
    """The same with the seams before and after each."""
    segmenter = Segmenter(settings, FRAME_MS)
    spans = [segmenter.push(flag == "#", -20.0 if flag == "#" else -60.0) for flag in flags]
    found = [span for span in [*spans, segmenter.finish()] if span is not None]
    return [(span.start, span.end, span.seam_before, span.seam_after) for span in found]


def ends_at(flags: str, settings: Segmentation = SETTINGS) -> int:
    """Frames after which the first segment ends."""
    segmenter = Segmenter(settings, FRAME_MS)
    return 1 + [segmenter.push(flag == "#", 0.0) is not None for flag in flags].index(True)


def test_a_segment_has_pre_roll_before_and_a_pad_after_its_speech() -> None:
    assert cut("." * 50 + "#" * 50 + "." * 100) == [(50 - 15, 100 + 20)]


def test_silence_gives_no_segment() -> None:
    assert cut("." * 1000) == []


def test_a_click_gives_no_segment() -> None:
    assert cut("." * 50 + "#" + "." * 20 + "#" + "." * 200) == []


def test_a_pause_shorter_than_the_end_silence_stays_inside() -> None:
    assert cut("#" * 50 + "." * 39 + "#" * 50 + "." * 60) == [(0, 139 + 20)]


def test_a_pause_of_the_end_silence_ends_the_segment() -> None:
    assert cut("#" * 50 + "." * 40 + "#" * 50) == [(0, 70), (75, 140)]


def test_segments_never_overlap_however_close_they_are() -> None:
    close = Segmentation(end_silence_ms=200, trailing_pad_ms=100, pre_roll_ms=300)
    assert cut("#" * 20 + "." * 10 + "#" * 20, close) == [(0, 25), (25, 50)]


def test_the_pad_leaves_time_to_recognise_a_segment_before_it_ends() -> None:
    assert cut("#" * 50 + "." * 60, replace(SETTINGS, trailing_pad_ms=800)) == [(0, 50 + 40 - 5)]


def test_a_detector_that_holds_on_to_speech_does_not_delay_the_end() -> None:
    segmenter = Segmenter(SETTINGS, FRAME_MS, hangover=5)
    pushed = [segmenter.push(flag == "#", 0.0) is not None for flag in "#" * 50 + "." * 60]
    assert pushed.index(True) == 50 + 40 - 5 - 1


def test_a_share_of_silence_ends_a_segment_that_a_single_noise_does_not_prolong() -> None:
    flags = "#" * 50 + "." * 30 + "#" + "." * 60
    lenient = replace(SETTINGS, end_threshold=0.9)
    assert ends_at(flags) == 81 + 40
    # Of the last 40 frames 36 are silent.
    assert ends_at(flags, lenient) == 50 + 37


def test_silence_before_the_first_speech_does_not_count_for_the_end() -> None:
    assert ends_at("." * 100 + "###" + "." * 60, replace(SETTINGS, end_threshold=0.5)) == 103 + 20


def test_a_first_pass_comes_before_the_end() -> None:
    segmenter = Segmenter(replace(SETTINGS, eou_silence_ms=400), FRAME_MS)
    told = []
    for flag in "#" * 50 + "." * 39:
        segmenter.push(flag == "#", 0.0)
        told.append(segmenter.first_pass)
    assert told.index(True) == 50 + 20 - 1
    assert segmenter.pending_span == Span(0, 50 + 15)


def test_a_first_pass_is_withdrawn_when_speech_resumes() -> None:
    segmenter = Segmenter(replace(SETTINGS, eou_silence_ms=400), FRAME_MS)
    for flag in "#" * 50 + "." * 25 + "#":
        segmenter.push(flag == "#", 0.0)
    assert not segmenter.first_pass
    assert segmenter.pending_span is None


def test_parts_of_a_segment_without_pauses_overlap_at_their_seam() -> None:
    segmenter = Segmenter(SETTINGS, FRAME_MS)
    spans = [span for _ in range(1100) if (span := segmenter.push(True, -20.0)) is not None]
    rest = segmenter.finish()
    assert rest is not None
    [first] = spans
    overlap = SETTINGS.overlap_ms // FRAME_MS
    assert first.seam_after == rest.seam_before
    assert first.seam_after is not None
    assert (first.end, rest.start) == (first.seam_after + overlap, first.seam_after - overlap)


def test_speech_that_has_only_begun_when_the_stream_ends_is_kept() -> None:
    assert cut("." * 50 + "##") == [(50 - 15, 52)]


def test_the_end_of_the_stream_ends_the_segment_where_it_is() -> None:
    assert cut("." * 10 + "#" * 30 + "." * 5) == [(0, 45)]


def test_a_long_segment_is_cut_in_the_middle_of_its_longest_pause() -> None:
    flags = "#" * 600 + "." * 20 + "#" * 100 + "." * 10 + "#" * 400
    assert cut(flags) == [(0, 610), (610, 1130)]


def test_a_long_segment_without_a_pause_is_cut_where_it_is_quietest() -> None:
    levels = [-20.0] * 1000
    levels[700] = -35.0
    assert split_point([(True, level) for level in levels]) == 700


def test_of_equal_pauses_the_later_is_cut() -> None:
    frames = [(True, 0.0)] * 100
    for start in (60, 80):
        frames[start : start + 4] = [(False, -50.0)] * 4
    assert split_point(frames) == 82


def test_the_rest_after_a_cut_may_hold_no_speech() -> None:
    short = Segmentation(max_segment_ms=2_000, end_silence_ms=1_900, overlap_ms=0)
    assert cut("#" * 60 + "." * 200, short) == [(0, 80)]


def test_audio_that_a_later_segment_may_need_is_kept() -> None:
    segmenter = Segmenter(SETTINGS, FRAME_MS)
    for _ in range(100):
        segmenter.push(False, -60.0)
    kept = segmenter.keep_from
    for _ in range(3):
        segmenter.push(True, -20.0)
    assert segmenter.open_span is not None
    assert kept <= segmenter.open_span.start == 100 - 15


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 120)), max_size=40),
    st.integers(0, 600),
    st.integers(100, 1500),
    st.integers(0, 1500),
)
def test_any_stream_is_cut_into_ordered_spans_that_hold_its_speech(
    runs: list[tuple[bool, int]], pre_roll: int, silence: int, pad: int
) -> None:
    flags = "".join(("#" if speech else ".") * length for speech, length in runs)
    settings = Segmentation(
        pre_roll_ms=pre_roll, end_silence_ms=silence, trailing_pad_ms=pad, max_segment_ms=4_000
    )
    whole = pieces(flags, settings)
    assert all(start < (before or end) <= end for start, end, _, before in whole)
    assert all(start <= (after or start) < end for start, end, after, _ in whole)
    spans = [
        (start if after is None else after, end if before is None else before)
        for start, end, after, before in whole
    ]
    assert all(0 <= start < end <= len(flags) for start, end in spans)
    assert all(end - start <= 4_000 // FRAME_MS for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = {frame for start, end in spans for frame in range(start, end)}
    position = 0
    for speech, length in runs:
        if speech and length >= 3:
            assert covered.issuperset(range(position, position + length))
        position += length


@given(
    st.lists(st.tuples(st.sampled_from("#.?!"), st.integers(1, 60)), max_size=30),
    st.builds(
        Segmentation,
        pre_roll_ms=st.integers(0, 5_000),
        onset_ms=st.integers(1, 200),
        end_silence_ms=st.integers(100, 1_500),
        end_threshold=st.sampled_from([1.0, 1.0, 0.7]),
        trailing_pad_ms=st.integers(0, 1_500),
        early_end_ms=st.sampled_from([0, 0, 300]),
        max_segment_ms=st.integers(2_000, 5_000),
        overlap_ms=st.integers(0, 1_500),
    ),
    st.integers(0, 7),
)
def test_no_news_comes_before_it_is_expected(
    runs: list[tuple[str, int]], settings: Segmentation, hangover: int
) -> None:
    segmenter = Segmenter(settings, FRAME_MS, hangover=hangover)
    frames = "".join(kind * length for kind, length in runs)
    expected = 0
    for now, kind in enumerate(frames, 1):
        before = segmenter.pending_span
        # `?` is doubted, `!` confirms what was.
        span = segmenter.push(kind in "#?", -20.0, confirmed=kind in "#!", heard=kind != ".")
        if span is not None or segmenter.pending_span != before:
            assert now >= expected
        expected = max(expected, segmenter.news_at)
        assert segmenter.news_at > now


def test_news_is_expected_when_a_pause_is_long_enough_and_at_the_longest_segment() -> None:
    settings = replace(SETTINGS, max_segment_ms=2_000)
    segmenter = Segmenter(settings, FRAME_MS)
    # A word of one frame may come, and its pause.
    assert segmenter.news_at == 1 + 20
    for _ in range(70):
        segmenter.push(True, -20.0)
    assert segmenter.news_at == 70 + 20
    for _ in range(15):
        segmenter.push(True, -20.0)
    assert segmenter.news_at == 100
    assert Segmenter(replace(settings, end_threshold=0.5), FRAME_MS).news_at == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"end_silence_ms": 0},
        {"pre_roll_ms": -1},
        {"trailing_pad_ms": 90_000},
        {"max_segment_ms": 10},
        {"overlap_ms": -1},
        {"eou_silence_ms": 20_000},
        {"early_end_ms": -1},
        {"end_threshold": 0.0},
        {"eou_threshold": 1.5},
        {"onset_ms": 300, "onset_window_ms": 200},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"segmentation\.{next(iter(wrong))}"):
        Segmentation(**wrong)


def cut_doubtful(frames: str, settings: Segmentation = SETTINGS) -> list[tuple[int, int]]:
    """As `cut`, with `?` for what may be speech and `#` for what is confirmed."""
    segmenter = Segmenter(settings, FRAME_MS)
    spans = [segmenter.push(frame in "?#", -30.0, confirmed=frame == "#") for frame in frames]
    spans.append(segmenter.finish(confirmed=False))
    return [(span.start, span.end) for span in spans if span is not None]


def test_what_is_never_confirmed_gives_no_segment() -> None:
    assert cut_doubtful("." * 50 + "?" * 300 + "." * 100) == []


def test_a_segment_that_is_confirmed_late_begins_where_speech_was_possible_first() -> None:
    assert cut_doubtful("." * 50 + "?" * 30 + "#" * 5 + "?" * 20 + "." * 100) == [(50 - 15, 105 + 20)]


def test_what_waits_for_confirmation_keeps_a_second_and_its_pre_roll() -> None:
    [(start, _)] = cut_doubtful("?" * 1000 + "#" * 50 + "." * 100)
    assert start == 1000 - (50 + 15)


def test_quiet_after_a_word_can_confirm_it() -> None:
    segmenter = Segmenter(SETTINGS, FRAME_MS)
    for frame in "." * 50 + "?" * 20 + "." * 5:
        segmenter.push(frame == "?", -30.0, confirmed=False)
    assert segmenter.open_span is None
    segmenter.push(False, -60.0, confirmed=True)
    assert segmenter.open_span is not None
    assert segmenter.open_span.start == 50 - 15


def test_an_open_segment_is_not_shown_before_it_is_confirmed() -> None:
    segmenter = Segmenter(SETTINGS, FRAME_MS)
    for _ in range(40):
        segmenter.push(True, -30.0, confirmed=False)
    assert segmenter.open_span is None
    segmenter.push(True, -30.0, confirmed=True)
    assert segmenter.open_span is not None


def test_audio_that_waits_for_confirmation_is_kept() -> None:
    segmenter = Segmenter(SETTINGS, FRAME_MS)
    for _ in range(500):
        segmenter.push(True, -30.0, confirmed=False)
    kept = segmenter.keep_from
    segmenter.push(True, -30.0, confirmed=True)
    assert segmenter.open_span is not None
    assert kept <= segmenter.open_span.start


def test_a_segment_begins_where_something_was_heard_however_long_it_was_doubted() -> None:
    trusting, doubting = (Segmenter(Segmentation(), frame_ms=20) for _ in range(2))
    for frame in range(60):
        heard = frame >= 30
        trusting.push(heard, -30.0)
        # The confirmation needs 80 ms to see what the detector hears.
        doubting.push(frame >= 34, -30.0, heard=heard)
    assert trusting.open_span is not None
    assert doubting.open_span == trusting.open_span
