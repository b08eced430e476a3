"""LiveKit's NVIDIA plugin, unmodified: a voice agent's stream, which stays open over many utterances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile

from clips import Clip, Utterance

LiveKit = Callable[[str, Path], dict[str, Any]]

PAUSE_SECONDS = 1.3
"""Between the clips, which have some silence of their own: longer than the daemon waits for an utterance to go on."""

WORD_ERRORS = 0.1
"""The embedded model hears the same words at another offset a little otherwise."""


@pytest.fixture
def conversation(clips: dict[str, Clip], tmp_path: Path) -> tuple[Path, list[Utterance]]:
    """Clips one after the other as one WAV file, and what is said in it."""
    audio, said, at = [], [], 0.0
    for name in ("command", "digits", "number", "clock", "pauses", "spelled"):
        samples, rate = soundfile.read(clips[name].path, dtype="int16")
        said += [Utterance(u.text, at + u.start, at + u.end) for u in clips[name].utterances]
        audio += [samples, np.zeros(round(PAUSE_SECONDS * rate), np.int16)]
        at += clips[name].seconds + PAUSE_SECONDS
    file = tmp_path / "conversation.wav"
    soundfile.write(file, np.concatenate(audio), 16_000, subtype="PCM_16")
    return file, said


def test_each_utterance_of_an_open_stream_gets_its_interims_and_its_final(
    livekit: LiveKit, address: str, conversation: tuple[Path, list[Utterance]]
) -> None:
    file, said = conversation
    answer = livekit(address, file)
    finals = [event for event in answer["events"] if event["type"] == "final_transcript"]
    assert len(finals) == len(said)
    for final, utterance in zip(finals, said, strict=True):
        # Times run over the whole stream: the final's words lie where its utterance does.
        assert utterance.start - 0.3 <= final["start"] < final["end"] <= utterance.end + 0.3
        assert 0 < final["confidence"] <= 1
    heard = [final["text"].strip() for final in finals]
    assert jiwer.wer([utterance.text for utterance in said], heard) <= WORD_ERRORS
    # Finals come at the endpoints, not when the stream ends; the last two are left to slow machines.
    assert all(final["sent"] < answer["seconds"] for final in finals[:-2])
    assert any(event["type"] == "interim_transcript" for event in answer["events"])
