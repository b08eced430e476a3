"""What real-time streams send and what came back, as plain data: a track of utterances, pairing, latencies."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from measuring import percentile

Floats = NDArray[np.float32]

RATE = 16_000
NOISE = 0.0005
"""Root mean square of the noise under everything: -66 dB, a quiet room."""


@dataclass(frozen=True)
class Spoken:
    text: str
    start: float
    """Seconds from the beginning of what is sent."""
    end: float
    """Seconds; the last sample of speech."""


@dataclass(frozen=True)
class Final:
    """A final result."""

    received: float
    """On the client's clock, in seconds."""
    start: float
    """Seconds from the beginning of what was sent; of the first word."""
    end: float
    text: str


@dataclass(frozen=True)
class Track:
    """Speech with pauses."""

    samples: Floats
    """[n], 16 kHz."""
    spoken: tuple[Spoken, ...]

    def window(self, first: int, seconds: float) -> Track:
        """A part of this length, from a little before the utterance `first`, with the utterances that are whole in
        it. Samples are not copied.

        Raises:
            ValueError: the track ends before.
        """
        begin = max(0.0, self.spoken[first].start - 0.5)
        at = round(begin * RATE)
        samples = self.samples[at : at + round(seconds * RATE)]
        if len(samples) < round(seconds * RATE):
            raise ValueError(f"the track ends {seconds - len(samples) / RATE:.1f} s too early")
        begin = at / RATE
        whole = (item for item in self.spoken if begin <= item.start and item.end <= begin + seconds)
        return Track(
            samples, tuple(Spoken(item.text, item.start - begin, item.end - begin) for item in whole)
        )


def make_track(pieces: Sequence[tuple[str, Floats]], seconds: float, pauses: tuple[float, float]) -> Track:
    """Pieces of speech (text, samples) one after the other, with pauses of random length, at least this long."""
    random = np.random.default_rng(4)
    parts: list[Floats] = []
    spoken: list[Spoken] = []
    length = 0
    while length < seconds * RATE:
        text, samples = pieces[len(spoken) % len(pieces)]
        pause = np.zeros(round(random.uniform(*pauses) * RATE), np.float32)
        start = length + len(pause)
        spoken.append(Spoken(text, start / RATE, (start + len(samples)) / RATE))
        parts += [pause, samples]
        length = start + len(samples)
    parts.append(np.zeros(round(pauses[1] * RATE), np.float32))
    whole = np.concatenate(parts)
    noise = random.standard_normal(len(whole), dtype=np.float32) * np.float32(NOISE)
    return Track(whole + noise, tuple(spoken))


def shipped_pieces(clips: Path) -> list[tuple[str, Floats]]:
    """Each utterance of the shipped clips of one channel, cut where `clips.jsonl` says that it begins and ends."""
    from parakeetd.audio.sources.file import read_audio

    pieces = []
    for line in (clips / "clips.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["channels"] == 1:
            samples = read_audio(clips / row["file"])
            for item in row["utterances"]:
                begin, end = round(item["start"] * RATE), round(item["end"] * RATE)
                pieces.append((item["text"], samples[begin:end]))
    return pieces


def pair(spoken: Sequence[Spoken], finals: Sequence[Final]) -> list[list[Final]]:
    """For each utterance the finals whose words overlap it most, in the order of arrival; none: it was lost."""
    paired: list[list[Final]] = [[] for _ in spoken]
    for final in sorted(finals, key=lambda item: item.received):
        overlaps = [min(item.end, final.end) - max(item.start, final.start) for item in spoken]
        # Word times are those of 80 ms frames, and may lie a little beside the speech.
        if overlaps and max(overlaps) > -0.5:
            paired[overlaps.index(max(overlaps))].append(final)
    return paired


def sent_with(seconds: float, chunk_seconds: float) -> float:
    """When the sample at `seconds` leaves: at the end of its chunk, as from a microphone; from the same beginning."""
    # Rounded first: 0.3 / 0.1 is a little below 3.
    return (math.floor(round(seconds / chunk_seconds, 6)) + 1) * chunk_seconds


@dataclass(frozen=True)
class Latencies:
    """Of all utterances of a run, in seconds."""

    p50: float
    p95: float
    p99: float
    finals: int
    lost: int
    """Utterances without a final."""
    other_words: int
    """Utterances with a final of another text."""

    @classmethod
    def of(cls, seconds: Sequence[float], *, lost: int, other_words: int) -> Latencies:
        p50, p95, p99 = (percentile(seconds, p) if seconds else math.inf for p in (50, 95, 99))
        return cls(p50, p95, p99, len(seconds), lost, other_words)


def most_streams(held: Sequence[tuple[int, bool]]) -> int | None:
    """The number of streams to try next, or None when the largest that holds is known to about a tenth.

    Args:
        held: number of streams and whether the bound held, of each trial so far.
    """
    good = max((n for n, ok in held if ok), default=0)
    bad = min((n for n, ok in held if not ok), default=0)
    if not bad:
        return 2 * good if good else 1
    if bad - good <= max(1, good // 10):
        return None
    return (good + bad) // 2
