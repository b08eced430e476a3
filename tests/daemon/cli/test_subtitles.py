"""SRT and WebVTT, read back by a parser that is not ours."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import webvtt

from clips import Clip
from commands import Command
from parakeetd.cli.output import as_srt, as_vtt
from parakeetd.library import Transcription
from parakeetd.model.transcript import Transcript, Word
from parakeetd.session import Result
from parakeetd.text.subtitles import CUE_LETTERS, CUE_MS

Render = Callable[[str, Transcription], str]
FORMATS = pytest.mark.parametrize(("suffix", "render"), [("srt", as_srt), ("vtt", as_vtt)])


def transcription(*segments: list[tuple[str, float, float]]) -> Transcription:
    """A transcription of segments of words with their times in seconds."""
    results = []
    for segment in segments:
        words = tuple(Word(text, start, end, 0.9) for text, start, end in segment)
        text = " ".join(word.text for word in words)
        results.append(Result(words[0].start, words[-1].end, Transcript(text, words), "cpu"))
    return Transcription(tuple(results), "demo", 60.0, 1.0)


def read(folder: Path, suffix: str, text: str) -> list[webvtt.Caption]:
    """What the parser finds in the text."""
    file = folder / f"talk.{suffix}"
    file.write_text(text, encoding="utf-8")
    parsed = webvtt.from_srt(str(file)) if suffix == "srt" else webvtt.read(str(file), strict=True)
    return parsed.captions


@FORMATS
def test_a_players_parser_reads_text_and_times(tmp_path: Path, suffix: str, render: Render) -> None:
    spoken = transcription([("hello", 0.48, 0.9), ("there", 1.0, 1.5)], [("again", 3725.2, 3725.9)])
    first, second = read(tmp_path, suffix, render("talk.wav", spoken))
    assert (first.text, first.start, first.end) == ("hello there", "00:00:00.480", "00:00:01.500")
    assert (second.text, second.start, second.end) == ("again", "01:02:05.200", "01:02:05.900")


@FORMATS
def test_the_command_writes_a_cue_for_each_utterance(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path, suffix: str, render: Render
) -> None:
    clip = clips["pauses"]
    parakeetd("transcribe", "--format", suffix, "--output", tmp_path, clip.path)
    cues = read(tmp_path, suffix, (tmp_path / f"pauses.{suffix}").read_text(encoding="utf-8"))
    assert [cue.text for cue in cues] == [spoken.text for spoken in clip.utterances]
    for cue, spoken in zip(cues, clip.utterances, strict=True):
        # Word times are those of the model: encoder frames of 80 ms, now and then two off.
        assert cue.start_in_seconds == pytest.approx(spoken.start, abs=1)
        assert cue.end_in_seconds == pytest.approx(spoken.end, abs=1)


@FORMATS
def test_long_speech_is_cut_into_cues_that_fit_two_lines(tmp_path: Path, suffix: str, render: Render) -> None:
    words = [(f"word{i}", i * 0.25, i * 0.25 + 0.2) for i in range(80)]
    cues = read(tmp_path, suffix, render("talk.wav", transcription(words)))
    assert len(cues) > 3
    assert " ".join(cue.text for cue in cues).split() == [word for word, _, _ in words]
    for cue in cues:
        assert len(cue.text) <= CUE_LETTERS
        length = cue.end_time.in_milliseconds() - cue.start_time.in_milliseconds()
        assert 0 < length <= CUE_MS
    for cue, following in pairwise(cues):
        assert cue.end <= following.start


@FORMATS
def test_slow_speech_is_cut_by_time(tmp_path: Path, suffix: str, render: Render) -> None:
    words = [(f"w{i}", i * 1.5, i * 1.5 + 1.0) for i in range(12)]
    cues = read(tmp_path, suffix, render("talk.wav", transcription(words)))
    assert len(cues) > 2
    assert all(cue.end_time.in_milliseconds() - cue.start_time.in_milliseconds() <= CUE_MS for cue in cues)


@FORMATS
def test_a_cue_does_not_stand_through_a_pause(tmp_path: Path, suffix: str, render: Render) -> None:
    spoken = transcription([("one", 0.0, 0.5), ("two", 3.0, 3.5)])
    first, second = read(tmp_path, suffix, render("talk.wav", spoken))
    assert (first.end, second.start) == ("00:00:00.500", "00:00:03.000")


@FORMATS
def test_words_of_no_length_and_words_that_overlap_still_show(
    tmp_path: Path, suffix: str, render: Render
) -> None:
    spoken = transcription([("a", 1.0, 1.0)], [("b", 0.9, 1.0)], [("c", 1.0005, 1.0015)])
    cues = read(tmp_path, suffix, render("talk.wav", spoken))
    assert [cue.text for cue in cues] == ["a", "b", "c"]
    assert all(cue.start < cue.end for cue in cues)
    assert all(cue.end <= following.start for cue, following in pairwise(cues))


def test_marks_of_the_subtitle_language_are_escaped() -> None:
    spoken = transcription([("<unk>", 0.0, 0.5), ("r&d", 0.5, 1.0)])
    assert "&lt;unk&gt; r&amp;d\n" in as_vtt("talk.wav", spoken)
    assert "<unk> r&d\n" in as_srt("talk.wav", spoken)


def test_silence_is_a_file_without_cues() -> None:
    assert as_vtt("talk.wav", transcription()) == "WEBVTT\n\n"
    assert as_srt("talk.wav", transcription()) == ""
