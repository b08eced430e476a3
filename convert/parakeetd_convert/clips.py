"""The audio that every conversion is verified on: the speech that ships in the package, and noise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from parakeetd.model.bundle import EMBEDDED
from parakeetd_convert.errors import VerificationFailed

SHIPPED = EMBEDDED.parent / "clips"
INDEX = "clips.jsonl"

NOISE_SECONDS = (0.01, 0.1, 0.3, 1.0, 7.0, 20.0)
"""From a single log-mel frame to the longest segment that the daemon makes."""

NOISE_LEVEL = 0.05
"""Standard deviation at full scale 1.0: about that of speech."""

BATCH = 3


@dataclass(frozen=True)
class Clip:
    """A piece of audio with a name for messages."""

    name: str
    samples: NDArray[np.float32]
    """Mono at the model's rate, shape [n]."""
    transcript: str | None = None
    """What is said, where that is known."""


def verification_batches(sample_rate: int, folder: Path = SHIPPED) -> list[list[Clip]]:
    """Every clip alone, then clips of different lengths three at a time.

    Raises:
        VerificationFailed: the shipped clips are missing.
    """
    speech, noise = shipped_speech(sample_rate, folder), noises(sample_rate)
    batches = [[clip] for clip in (*speech, *noise)]
    batches += [speech[start : start + BATCH] for start in range(0, len(speech) - BATCH + 1, BATCH)]
    batches += [noise[start::BATCH][:BATCH] for start in range(len(noise) // BATCH)]
    batches.append([noise[-2], *speech[:2]])
    return batches


def shipped_speech(sample_rate: int, folder: Path = SHIPPED) -> list[Clip]:
    """The package's clips of speech that are mono and at the model's rate; the others test resampling.

    Raises:
        VerificationFailed: a file is missing, or too few are left.
    """
    try:
        rows = (folder / INDEX).read_text(encoding="utf-8").splitlines()
        listed = [json.loads(row) for row in rows if row]
        read = [(row["file"], row.get("text"), *_read(folder / row["file"])) for row in listed]
    except (OSError, ValueError, KeyError, soundfile.SoundFileError) as error:
        problem = f"the shipped clips cannot be read ({error}); install parakeetd again"
        raise VerificationFailed(str(folder), problem) from error
    clips = [
        Clip(file, samples, text)
        for file, text, samples, rate in read
        if rate == sample_rate and samples.ndim == 1
    ]
    if len(clips) < BATCH:
        raise VerificationFailed(str(folder), f"{len(clips)} mono clips at {sample_rate} Hz are too few")
    return clips


def noises(sample_rate: int) -> list[Clip]:
    """The same noise at every run, from very short to long."""
    generator = np.random.default_rng(20)
    return [
        Clip(
            f"noise of {seconds:g} s",
            (NOISE_LEVEL * generator.standard_normal(round(seconds * sample_rate))).astype(np.float32),
        )
        for seconds in NOISE_SECONDS
    ]


def padded(batch: list[Clip]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Waveforms [B, N], zero after each clip's end, and lengths [B] in samples."""
    lengths = np.array([clip.samples.size for clip in batch], np.int64)
    waveforms = np.zeros((len(batch), int(lengths.max())), np.float32)
    for row, clip in zip(waveforms, batch, strict=True):
        row[: clip.samples.size] = clip.samples
    return waveforms, lengths


def _read(file: Path) -> tuple[NDArray[np.float32], int]:
    samples, rate = soundfile.read(file, dtype="float32")
    return samples, int(rate)
