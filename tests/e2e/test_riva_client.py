"""NVIDIA's own client, unmodified, against a real daemon: the text is what `parakeetd transcribe` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clips import Clip
from commands import run
from descriptors import on_the_wire
from parakeetd_proto import riva_asr_pb2, riva_audio_pb2, riva_common_pb2

Riva = Callable[..., Any]
Wav = Callable[[Clip], Path]

MILLISECOND = 1
"""Times of words are whole milliseconds on the wire."""


def text_of(answer: dict[str, Any]) -> str:
    """The finals, joined as they are."""
    return "".join(answer["finals"]).strip()


def words_of(transcribed: dict[str, Any]) -> list[dict[str, Any]]:
    return [word for segment in transcribed["segments"] for word in segment["words"]]


def assert_words_agree(words: list[list[Any]], transcribed: dict[str, Any]) -> None:
    expected = words_of(transcribed)
    assert [word[0] for word in words] == [word["word"] for word in expected]
    assert [word[1] for word in words] == pytest.approx(
        [1000 * word["start"] for word in expected], abs=MILLISECOND
    )
    assert [word[2] for word in words] == pytest.approx(
        [1000 * word["end"] for word in expected], abs=MILLISECOND
    )
    assert [word[3] for word in words] == pytest.approx([word["confidence"] for word in expected], abs=1e-3)


def test_our_messages_are_the_clients_messages(riva: Riva) -> None:
    ours = on_the_wire(*(module.DESCRIPTOR for module in (riva_asr_pb2, riva_audio_pb2, riva_common_pb2)))
    assert ours == riva("descriptors", "")


def test_a_streamed_wav_file_with_nothing_declared_gives_the_text_of_transcribe(
    riva: Riva, address: str, clip: Clip, wav: Wav, transcribed: dict[str, Any]
) -> None:
    answer = riva("stream", address, wav(clip))
    expected = transcribed[clip.path.stem]
    assert text_of(answer) == expected["text"] == clip.text
    assert len(answer["finals"]) == len(expected["segments"])
    assert_words_agree(answer["words"], expected)


def test_the_client_prints_each_final_as_a_line(
    riva: Riva, address: str, clips: dict[str, Clip], wav: Wav
) -> None:
    answer = riva("stream", address, wav(clips["pauses"]))
    printed = [line.rstrip() for line in answer["printed"].splitlines()]
    assert printed == [f"## {utterance.text}" for utterance in clips["pauses"].utterances]


def test_a_flac_file_is_streamed_like_a_wav_file(riva: Riva, address: str, clips: dict[str, Clip]) -> None:
    clip = clips["digits"]
    assert text_of(riva("stream", address, clip.path)) == clip.text


def test_a_microphone_gets_interims_while_it_is_spoken_to_and_the_text_of_transcribe(
    riva: Riva, address: str, clips: dict[str, Clip], wav: Wav, transcribed: dict[str, Any]
) -> None:
    answer = riva("microphone", address, wav(clips["pauses"]))
    expected = transcribed["pauses"]
    assert text_of(answer) == expected["text"] == clips["pauses"].text
    assert_words_agree(answer["words"], expected)
    assert answer["interims"]
    # A final comes at its endpoint, before the next utterance is spoken.
    nexts = [utterance.start for utterance in clips["pauses"].utterances[1:]]
    assert len(answer["final_at"]) == 1 + len(nexts)
    assert all(at < start for at, start in zip(answer["final_at"][:-1], nexts, strict=True))
    assert answer["stability"][-1] == 1


def test_a_recording_in_one_message_gives_the_text_of_transcribe(
    riva: Riva, address: str, clip: Clip, wav: Wav, transcribed: dict[str, Any]
) -> None:
    answer = riva("offline", address, wav(clip))
    expected = transcribed[clip.path.stem]
    # The client joins the results with nothing between them.
    assert "".join(answer["finals"]) == expected["text"]
    assert_words_agree(answer["words"], expected)


def test_the_model_is_listed_for_its_language(riva: Riva, address: str) -> None:
    assert riva("models", address) == {"en-US": ["demo"]}


def test_clients_at_the_same_time_get_their_own_words(
    riva: Riva, address: str, clips: dict[str, Clip], wav: Wav
) -> None:
    names = ["digits", "command"]
    with ThreadPoolExecutor() as threads:
        answers = threads.map(lambda name: riva("microphone", address, wav(clips[name])), names)
    assert [text_of(answer) for answer in answers] == [clips[name].text for name in names]


def test_the_client_can_ask_for_the_ctc_decoder(
    riva: Riva, address: str, clips: dict[str, Clip], wav: Wav, env: dict[str, str]
) -> None:
    clip = clips["digits"]
    outcome = run("transcribe", "--model", "demo", "--decoder", "ctc", "--format", "json", clip.path, env=env)
    by_ctc = riva("offline", address, wav(clip), "decoder:ctc")
    assert text_of(by_ctc) == clip.nemo_ctc_text
    assert_words_agree(by_ctc["words"], json.loads(outcome.out))
    # The text is the transducer's too; its confidences are not.
    by_tdt = riva("offline", address, wav(clip), "decoder:tdt")
    assert [word[3] for word in by_ctc["words"]] != [word[3] for word in by_tdt["words"]]
