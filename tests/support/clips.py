"""The clips that ship in the package, with what is said in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

CLIPS = Path(__file__).resolve().parents[2] / "daemon" / "parakeetd" / "embedded" / "clips"


@dataclass(frozen=True)
class Utterance:
    text: str
    start: float
    """Seconds."""
    end: float
    """Seconds."""


@dataclass(frozen=True)
class Clip:
    """A shipped clip, what is said in it, and NeMo's greedy TDT answer to it."""

    path: Path
    text: str
    seconds: float
    rate: int
    """Hz of the file."""
    channels: int
    utterances: tuple[Utterance, ...]
    nemo_text: str
    nemo_tokens: tuple[int, ...]
    nemo_frames: tuple[int, ...]
    """Encoder frame at which each token was emitted."""
    nemo_ctc_text: str
    """NeMo's greedy answer by the CTC head."""


def shipped_clips() -> list[Clip]:
    rows = [json.loads(line) for line in (CLIPS / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Clip(
            path=CLIPS / row["file"],
            text=row["text"],
            seconds=row["seconds"],
            rate=row["rate"],
            channels=row["channels"],
            utterances=tuple(Utterance(**utterance) for utterance in row["utterances"]),
            nemo_text=row["nemo"]["text"],
            nemo_tokens=tuple(row["nemo"]["tokens"]),
            nemo_frames=tuple(row["nemo"]["frames"]),
            nemo_ctc_text=row["nemo"]["ctc"],
        )
        for row in rows
    ]
