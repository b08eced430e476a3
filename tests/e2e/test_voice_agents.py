"""Unmodified clients that keep one stream open over many utterances: LiveKit's NVIDIA plugin and pipecat's service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jiwer

from clips import Utterance

Agent = Callable[[str, Path], dict[str, Any]]
Conversation = Callable[..., tuple[Path, list[Utterance]]]

WORD_ERRORS = 0.1
"""The embedded model hears the same words at another offset a little otherwise."""


def assert_one_final_for_each(
    finals: Sequence[dict[str, Any]], said: Sequence[Utterance], seconds: float
) -> None:
    assert len(finals) == len(said)
    heard = [final["text"].strip() for final in finals]
    assert jiwer.wer([utterance.text for utterance in said], heard) <= WORD_ERRORS
    # Finals come at the endpoints, not when the stream ends; the last two are left to slow machines.
    assert all(final["sent"] < seconds for final in finals[:-2])


def test_livekit_gets_the_interims_and_the_final_of_each_utterance_of_an_open_stream(
    livekit: Agent, address: str, conversation: Conversation
) -> None:
    file, said = conversation("command", "digits", "number", "clock", "pauses", "spelled")
    answer = livekit(address, file)
    finals = [event for event in answer["events"] if event["type"] == "final_transcript"]
    assert_one_final_for_each(finals, said, answer["seconds"])
    for final, utterance in zip(finals, said, strict=True):
        # Times run over the whole stream: the final's words lie where its utterance does.
        assert utterance.start - 0.3 <= final["start"] < final["end"] <= utterance.end + 0.3
        assert 0 < final["confidence"] <= 1
    assert any(event["type"] == "interim_transcript" for event in answer["events"])


def test_pipecat_gets_the_final_of_each_utterance_at_its_own_endpoints(
    pipecat: Agent, address: str, conversation: Conversation
) -> None:
    file, said = conversation("command", "pauses", "digits")
    answer = pipecat(address, file)
    finals = [frame for frame in answer["heard"] if frame["final"]]
    assert_one_final_for_each(finals, said, answer["seconds"])
    assert any(not frame["final"] for frame in answer["heard"])
