"""Transcriptions as text, JSON and subtitles."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parakeetd.library import Transcription
from parakeetd.session import Result

CUE_LETTERS = 84
"""Longest subtitle: two lines of 42 letters."""

CUE_MS = 6000
"""Longest time of one: what 84 letters take at a reading speed of 15 letters a second."""

CUE_PAUSE_MS = 1000
"""A pause that ends one: its text would stand through the silence."""


def as_text(file: str, transcription: Transcription) -> str:
    return f"{transcription.text}\n"


def as_json(file: str, transcription: Transcription) -> str:
    return json.dumps(json_object(file, transcription), ensure_ascii=False) + "\n"


def json_object(file: str, transcription: Transcription) -> dict[str, Any]:
    """The object of `--format json`. Times are seconds from the beginning of the file."""
    return {
        "file": file,
        "text": transcription.text,
        "model": transcription.model,
        "audio_seconds": round(transcription.audio_seconds, 3),
        "processing_seconds": round(transcription.processing_seconds, 3),
        "segments": [_segment(segment) for segment in transcription.segments],
    }


def as_srt(file: str, transcription: Transcription) -> str:
    cues = enumerate(_cues(transcription), start=1)
    return "".join(f"{i}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{text}\n\n" for i, (a, b, text) in cues)


def as_vtt(file: str, transcription: Transcription) -> str:
    cues = "".join(
        # WebVTT has markup: the signs that begin it are escaped.
        f"{_clock(a, '.')} --> {_clock(b, '.')}\n{html.escape(text, quote=False)}\n\n"
        for a, b, text in _cues(transcription)
    )
    return f"WEBVTT\n\n{cues}"


FORMATS: Mapping[str, Callable[[str, Transcription], str]] = {
    "text": as_text,
    "json": as_json,
    "srt": as_srt,
    "vtt": as_vtt,
}


def _segment(segment: Result) -> dict[str, Any]:
    return {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "confidence": round(segment.transcript.confidence, 4),
        "device": segment.device,
        "words": [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in segment.transcript.words
        ],
    }


def _cues(transcription: Transcription) -> Iterator[tuple[int, int, str]]:
    """(start, end, text), times in milliseconds, of subtitles that fit two lines: cut between words and at pauses,
    never overlapping, never of no length, for which a player would show nothing."""
    end = 0
    for segment in transcription.segments:
        words: list[str] = []
        start = end
        for word in segment.transcript.words:
            # A spoken new line is a word of its own, and a blank line would end the subtitle.
            text = " ".join(word.text.split())
            if not text:
                continue
            word_start, word_end = round(word.start * 1000), round(word.end * 1000)
            full = word_end - start > CUE_MS or len(" ".join([*words, text])) > CUE_LETTERS
            if words and (full or word_start - end > CUE_PAUSE_MS):
                yield start, end, " ".join(words)
                words = []
            if not words:
                start = max(word_start, end)
            words.append(text)
            end = max(word_end, start + 1)
        if words:
            yield start, end, " ".join(words)


def _clock(milliseconds: int, point: str) -> str:
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
