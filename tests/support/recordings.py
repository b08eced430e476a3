"""Real recordings that are not part of the project, with what NeMo's greedy decoding says of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDERS = {
    "an4_test": "an4/test",
    "cathy": "cathy",
    "fsdd_digits": "digits",
    "lj": "ljspeech",
    "noise": "noise_made",
    "tts": "tts",
}
"""Where the recordings of each file of answers lie."""


@dataclass(frozen=True)
class Answer:
    file: Path
    said: str
    """The transcript of the recording; empty for noise."""
    tdt: str
    """NeMo's text by the transducer."""
    ctc: str
    """NeMo's text by the CTC head."""


def nemo_answers(speech: Path, *sets: str) -> list[Answer]:
    """The answers to the recordings that are there, of these sets or of all; skips when there are none."""
    answers = speech.parent / "models" / "nemo"
    found = []
    for name in sets or tuple(FOLDERS):
        rows = answers / f"{name}.jsonl"
        if not rows.is_file():
            pytest.skip(f"no answers of NeMo in {rows}")
        for line in rows.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            file = speech / FOLDERS[name] / row["file"]
            if file.is_file():
                found.append(Answer(file, row["transcript"] or "", row["hyp"], row["hyp_ctc"]))
    assert len(found) > 20
    return found
