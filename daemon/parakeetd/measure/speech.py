"""Speech to measure with: noise would give no tokens, and decoding takes its time by the token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.model.bundle import EMBEDDED

CLIPS = EMBEDDED.parent / "clips"


def clip_files() -> list[Path]:
    """The recordings that ship in the package."""
    lines = (CLIPS / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    return [CLIPS / json.loads(line)["file"] for line in lines]


@cache
def _clips() -> Samples:
    return np.concatenate([read_audio(file) for file in clip_files()])


def speech(seconds: float, batch: int = 1) -> Sequence[Samples]:
    """A batch of pieces of one length, cut from the clips in the package, repeated as needed.

    Each begins elsewhere, so that they do not emit their tokens at the same frames.
    """
    whole = _clips()
    length = round(seconds * SAMPLE_RATE)
    return [np.resize(np.roll(whole, -row * len(whole) // batch), length) for row in range(batch)]
