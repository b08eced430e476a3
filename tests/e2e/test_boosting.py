"""Phrases through NVIDIA's own client: what its `--boosted-lm-words` and `--boosted-lm-score` do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clips import Clip
from commands import run

Riva = Callable[..., Any]

MISHEARD = "enter seven three nine five"
"""What the model hears in the clip `command` under noise; said is "two"."""


@pytest.fixture
def noisy(clips: dict[str, Clip], tmp_path: Path) -> Path:
    """The clip `command`, 5 dB above white noise."""
    samples, rate = soundfile.read(clips["command"].path, dtype="float32")
    noise = np.random.default_rng(1).standard_normal(len(samples)).astype(np.float32)
    level = np.sqrt(np.mean(samples**2)) / 10 ** (5 / 20)
    file = tmp_path / "noisy.wav"
    mixed = np.round(np.clip(samples + level * noise, -1, 1) * 32767).astype(np.int16)
    soundfile.write(file, mixed, rate, subtype="PCM_16")
    return file


def test_a_boosted_phrase_is_heard_where_another_was_without(
    riva: Riva, address: str, clips: dict[str, Clip], noisy: Path, env: dict[str, str]
) -> None:
    said = clips["command"].text
    assert riva("boosted", address, noisy, "4") == {"streamed": MISHEARD, "offline": MISHEARD}
    assert riva("boosted", address, noisy, "4", "vanessa", "seven two nine") == {
        "streamed": said,
        "offline": said,
    }
    outcome = run("transcribe", "--boost", "vanessa", "--boost", "seven two nine:4", noisy, env=env)
    assert outcome.out == f"{said}\n"


def test_phrases_of_one_client_do_nothing_to_another(
    riva: Riva, address: str, clips: dict[str, Clip], noisy: Path
) -> None:
    assert riva("boosted", address, noisy, "4", "seven two nine")["streamed"] == clips["command"].text
    assert riva("boosted", address, noisy, "0")["streamed"] == MISHEARD


@pytest.mark.parametrize(
    ("score", "phrase", "message"),
    [
        ("4", "straße", "the phrase 'straße' cannot be boosted: model demo has no token for 'ß'"),
        ("-1", "seven", "boost of phrase 'seven' is -1; it must be a number from 0 to 20"),
    ],
)
def test_what_cannot_be_boosted_is_said_to_the_client(
    riva: Riva, address: str, noisy: Path, score: str, phrase: str, message: str
) -> None:
    refused = riva("boosted", address, noisy, score, phrase)
    assert refused["code"] == "INVALID_ARGUMENT"
    assert message in refused["message"]
