"""Transcripts as subtitles: SRT and WebVTT."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Final

from parakeetd.model.transcript import Transcript

CUE_LETTERS: Final = 84
"""Longest subtitle: two lines of 42 letters."""

CUE_MS: Final = 6000
"""Longest time of one: what 84 letters take at a reading speed of 15 letters a second."""

CUE_PAUSE_MS: Final = 1000
"""A pause that ends one: its text would stand through the silence."""


def srt(transcripts: Iterable[Transcript]) -> str:
    """The transcripts of a recording, in order, as a SubRip file."""
    cues = enumerate(_cues(transcripts), start=1)
    return "".join(f"{i}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{text}\n\n" for i, (a, b, text) in cues)


def vtt(transcripts: Iterable[Transcript]) -> str:
    """The same as a WebVTT file."""
    cues = "".join(
        # WebVTT has markup: the signs that begin it are escaped.
        f"{_clock(a, '.')} --> {_clock(b, '.')}\n{html.escape(text, quote=False)}\n\n"
        for a, b, text in _cues(transcripts)
    )
    return f"WEBVTT\n\n{cues}"


def _cues(transcripts: Iterable[Transcript]) -> Iterator[tuple[int, int, str]]:
    """(start, end, text), times in milliseconds, of subtitles that fit two lines: cut between words and at pauses,
    never overlapping, never of no length, for which a player would show nothing."""
    end = 0
    for transcript in transcripts:
        words: list[str] = []
        start = end
        for word in transcript.words:
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
