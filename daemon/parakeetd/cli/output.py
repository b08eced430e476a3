"""Transcriptions as text, JSON and subtitles."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from parakeetd.library import Transcription
from parakeetd.session import Result
from parakeetd.text.subtitles import srt, vtt


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
    return srt(segment.transcript for segment in transcription.segments)


def as_vtt(file: str, transcription: Transcription) -> str:
    return vtt(segment.transcript for segment in transcription.segments)


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
