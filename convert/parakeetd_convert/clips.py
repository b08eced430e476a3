"""The audio that a conversion is verified on: the speech that ships in the package, noise, and recordings of the
user's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from parakeetd.errors import InputError
from parakeetd.model.bundle import EMBEDDED
from parakeetd_convert.errors import VerificationFailed

SHIPPED = EMBEDDED.parent / "clips"
INDEX = "clips.jsonl"

NOISE_SECONDS = (0.01, 0.1, 0.3, 1.0, 7.0, 20.0)
"""From a single log-mel frame to the longest segment that the daemon makes."""

NOISE_LEVEL = 0.05
"""Standard deviation at full scale 1.0: about that of speech."""

BATCH = 3

MANIFEST = "manifest.jsonl"
MAX_SECONDS = 20
"""Longest piece of a recording: the longest segment that the daemon makes."""


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


def folder_clips(folder: Path, sample_rate: int) -> list[Clip]:
    """A folder's recordings, resampled, in pieces of at most MAX_SECONDS.

    With a `manifest.jsonl` in the folder it is the recordings that this lists: a JSON object a line, `file` relative to
    the folder and, where it is known, `transcript`. Without, it is all audio files below the folder.

    Only a recording in one piece keeps its transcript: where the words of a longer one are is not known.

    Raises:
        InputError: there is no such folder or no recording in it, a line of the manifest is not as above, or a file
            cannot be read; the message names it.
    """
    clips: list[Clip] = []
    longest = MAX_SECONDS * sample_rate
    for file, transcript in recordings_in(folder):
        samples = _resampled(file, sample_rate)
        name = file.relative_to(folder).as_posix()
        if samples.size <= longest:
            clips.append(Clip(name, samples, transcript))
            continue
        clips += [
            Clip(f"{name} at {start // sample_rate} s", samples[start : start + longest])
            for start in range(0, samples.size, longest)
        ]
    return clips


def recordings_in(folder: Path) -> list[tuple[Path, str | None]]:
    """The files that `folder_clips` reads, each with its transcript where that is known.

    Raises:
        InputError: as there, but no file is opened.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of recordings")
    manifest = folder / MANIFEST
    found: list[tuple[Path, str | None]]
    if manifest.is_file():
        rows = manifest.read_text(encoding="utf-8").splitlines()
        found = [_listed(folder, number, row) for number, row in enumerate(rows, 1) if row.strip()]
    else:
        suffixes = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".oga", ".opus"}
        found = [(file, None) for file in sorted(folder.rglob("*")) if file.suffix.lower() in suffixes]
    if not found:
        raise InputError(f"{folder}: there is no recording in it")
    return found


def _listed(folder: Path, number: int, row: str) -> tuple[Path, str | None]:
    where = f"{folder / MANIFEST} line {number}"
    try:
        entry = json.loads(row)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    file = entry.get("file") if isinstance(entry, dict) else None
    transcript = entry.get("transcript") if isinstance(entry, dict) else None
    if not isinstance(file, str) or not isinstance(transcript, str | None):
        raise InputError(f'{where} is not an object with "file" and "transcript"')
    if not (folder / file).is_file():
        raise InputError(f"{where}: there is no file {folder / file}")
    return folder / file, transcript


def _resampled(file: Path, sample_rate: int) -> NDArray[np.float32]:
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"{file} cannot be read as audio: {error}") from error
    if not len(samples):
        raise InputError(f"{file} holds no audio")
    mono: NDArray[np.float32] = soxr.resample(samples.mean(axis=1), rate, sample_rate).astype(np.float32)
    return mono


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
