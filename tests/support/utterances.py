"""Recorded utterances with their words, cut and joined as the benchmarks of the voice detection need them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np

from noises import room
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio

ROOT = Path(__file__).resolve().parents[2]

SPEECH = Path(os.environ.get("PARAKEETD_SPEECH") or ROOT.parent / "shared" / "speech")
"""Recordings that are not part of the project."""


@dataclass(frozen=True)
class Utterance:
    name: str
    samples: Samples
    text: str
    """Lower case, letters, digits and apostrophes."""


def plain(text: str) -> str:
    """What two transcripts are compared by."""
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower()).split())


def recorded(folder: Path, *sets: str) -> list[Utterance]:
    """The recordings of these sub-folders, or the clips that ship in the package when the machine has none."""
    if not (folder / "manifest.jsonl").is_file():
        from clips import shipped_clips

        return [
            Utterance(clip.path.stem, read_audio(clip.path), plain(clip.text)) for clip in shipped_clips()
        ]
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Utterance(row["file"], read_audio(folder / row["file"]), plain(row["transcript"] or ""))
        for row in rows
        if str(Path(row["file"]).parent) in sets and (folder / row["file"]).is_file()
    ]


def word_errors(said: Sequence[str], heard: Sequence[str]) -> float:
    """Word error rate in percent; texts without words are left out."""
    pairs = [(s, plain(h)) for s, h in zip(said, heard, strict=True) if s]
    return 100.0 * float(jiwer.wer([s for s, _ in pairs], [h for _, h in pairs]))


def voiced_part(samples: Samples, floor_db: float = 30.0) -> Samples:
    """From the first to the last 30 ms that is within `floor_db` of the loudest 10 ms; shorter is a click."""
    frame = SAMPLE_RATE // 100
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    level = 10 * np.log10(np.maximum(np.mean(np.square(frames), axis=1), 1e-12))
    loud = level > level.max() - floor_db
    [lasting] = np.nonzero(loud[:-2] & loud[1:-1] & loud[2:])
    return samples[lasting[0] * frame : (lasting[-1] + 3) * frame]


def ramped(samples: Samples, milliseconds: int = 3) -> Samples:
    """Without the click that a cut makes."""
    count = SAMPLE_RATE * milliseconds // 1000
    ramp = np.ones(len(samples), np.float32)
    ramp[:count] = np.linspace(0, 1, count)
    ramp[-count:] = np.linspace(1, 0, count)
    return samples * ramp


def glued(
    utterances: Iterable[Utterance],
    rng: np.random.Generator,
    gaps: tuple[float, float],
    level_db: float = -62.0,
) -> tuple[Samples, list[tuple[float, float]]]:
    """Utterances over the noise of a room, with pauses of so many seconds; when each begins and ends, in seconds."""
    parts: list[Samples] = []
    times = []
    at = 0
    for utterance in utterances:
        pause = np.zeros(round(rng.uniform(*gaps) * SAMPLE_RATE), np.float32)
        parts += [pause, utterance.samples]
        at += len(pause)
        times.append((at / SAMPLE_RATE, (at + len(utterance.samples)) / SAMPLE_RATE))
        at += len(utterance.samples)
    parts.append(np.zeros(2 * SAMPLE_RATE, np.float32))
    stream = np.concatenate(parts)
    return stream + room(len(stream) / SAMPLE_RATE + 0.01, rng, level_db)[: len(stream)], times


def mixed(speech: Samples, noise: Samples, snr_db: float) -> Samples:
    """Speech in the middle of a noise that is longer, at this ratio of their levels while there is speech."""
    first = (len(noise) - len(speech)) // 2
    under = noise[first : first + len(speech)]
    level, wanted = float(np.mean(np.square(under))), float(np.mean(np.square(speech))) / 10 ** (snr_db / 10)
    whole = noise * np.float32(np.sqrt(wanted / max(level, 1e-12)))
    whole[first : first + len(speech)] += speech
    clipped: Samples = np.clip(whole, -1, 1).astype(np.float32)
    return clipped
