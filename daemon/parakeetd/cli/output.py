"""Transcriptions as text, JSON and subtitles."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parakeetd.errors import InputError
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
        # A name need not be text; what is no UTF-8 in it stands there as its escapes.
        "file": os.fsencode(file).decode(errors="backslashreplace"),
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


SUFFIX = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}
"""Of the files that results are written to."""

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


def write_atomically(target: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        InputError: it cannot be written; the message names it.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=".parakeetd-", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                # The temporary file is private to the user; the result gets what any new file gets.
                os.umask(mask := os.umask(0))
                os.fchmod(file.fileno(), 0o666 & ~mask)
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
