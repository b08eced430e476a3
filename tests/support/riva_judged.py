"""The load of NVIDIA's own client, and what came back against what `parakeetd transcribe` says of the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from measuring import ROOT
from parakeetd.audio import SAMPLE_RATE
from speech_load import RATE, Track, make_track, pair, shipped_pieces
from speech_load import Final as Said

CLIPS = ROOT / "daemon/parakeetd/embedded/clips"
LOAD = Path(__file__).with_name("riva_load_client.py")
PAUSES = (1.5, 3.0)
TRANSCRIBE_SECONDS = 600.0


@dataclass
class Load:
    """What the streams of a run were answered."""

    streamed: int = 0
    """Files."""
    utterances: int = 0
    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Utterances without a final."""
    other: list[str] = field(default_factory=list)
    """Finals that are not those of `transcribe`."""
    interims: int = 0
    late: float = 0.0
    """Seconds that the slowest stream took beyond the length of its file."""


def write_files(folder: Path, count: int, seconds: float) -> dict[str, Track]:
    """So many WAV files of utterances with pauses, each in another order; what was said in them, by name."""
    track = make_track(shipped_pieces(CLIPS), seconds + 60, PAUSES)
    starts = [
        i for i, item in enumerate(track.spoken) if item.start + seconds + 2 < len(track.samples) / RATE
    ]
    files = {}
    for number in range(count):
        window = track.window(starts[3 * number % len(starts)], seconds)
        name = f"load-{number:02}.wav"
        data = np.round(np.clip(window.samples, -1, 1) * 32767).astype(np.int16)
        soundfile.write(folder / name, data, SAMPLE_RATE, subtype="PCM_16")
        files[name] = window
    return files


def transcribed(folder: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The segments' texts that `parakeetd transcribe` writes for each file."""
    command = [sys.executable, "-m", "parakeetd.cli", "transcribe", "--model", "demo", "--format", "json"]
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [*command, *(str(folder / name) for name in names)],
        env=inherited | {"HOME": str(folder)},
        capture_output=True,
        check=True,
        timeout=TRANSCRIBE_SECONDS,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(answer["file"]).name: [part["text"] for part in answer["segments"]] for answer in answers}


def load(
    address: str, python: Path, folder: Path, files: dict[str, Track], streams: int, seconds: float
) -> Load:
    """Let the client of this interpreter stream the files, and hold what it got against `transcribe`."""
    wanted = transcribed(folder, list(files))
    command = [
        str(python),
        str(LOAD),
        address,
        str(streams),
        str(seconds),
        *(str(folder / name) for name in files),
    ]
    lasting = max(len(track.samples) for track in files.values()) / RATE
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
        timeout=seconds + 10 * lasting + 120,
    )
    made = Load()
    for answer in json.loads(done.stdout):
        _hold(made, answer, files[answer["file"]], wanted[answer["file"]])
    return made


def _hold(made: Load, answer: dict[str, Any], track: Track, wanted: Sequence[str]) -> None:
    name = answer["file"]
    made.streamed += 1
    made.interims += answer["interims"]
    made.late = max(made.late, answer["seconds"] - len(track.samples) / RATE)
    if answer["error"]:
        made.errors.append(f"{name}: {answer['error']}")
    made.utterances += len(track.spoken)
    words = [Said(0.0, start / 1e3, end / 1e3, word) for word, start, end in answer["words"]]
    for item, found in zip(track.spoken, pair(track.spoken, words), strict=True):
        if not found:
            made.lost.append(f"{name}: {item.text!r} at {item.start:.1f} s")
    finals = [text.strip() for text in answer["finals"]]
    if finals != list(wanted):
        made.other.append(f"{name}: {_difference(finals, wanted)}")


def _difference(finals: Sequence[str], wanted: Sequence[str]) -> str:
    for at, (one, other) in enumerate(zip(finals, wanted, strict=False)):
        if one != other:
            return f"final {at} is {one!r}, transcribe says {other!r}"
    return f"{len(finals)} finals, transcribe says {len(wanted)}"
