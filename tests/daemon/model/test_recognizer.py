"""The shipped recognizer against NeMo's own decoding of the shipped clips."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest

import parakeetd
from clips import Clip
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import AudioError
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.transcript import Transcript


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.open(Bundle.read(EMBEDDED))


@pytest.fixture(scope="module")
def model() -> Iterator[parakeetd.Model]:
    with parakeetd.load("demo", device="cpu") as loaded:
        yield loaded


def test_a_shipped_clip_gives_nemos_tokens_at_nemos_frames(recognizer: Recognizer, clip: Clip) -> None:
    [transcript] = recognizer.recognize([read_audio(clip.path)])
    assert transcript.text == clip.nemo_text
    assert tuple(token.id for token in transcript.tokens) == clip.nemo_tokens
    assert tuple(token.frame for token in transcript.tokens) == clip.nemo_frames


def test_words_lie_in_order_inside_the_audio_and_where_they_were_spoken(
    recognizer: Recognizer, clip: Clip
) -> None:
    [transcript] = recognizer.recognize([read_audio(clip.path)])
    times = [time for word in transcript.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert " ".join(word.text for word in transcript.words) == transcript.text
    assert all(0 < word.confidence <= 1 for word in transcript.words)
    # Two encoder frames of tolerance: 0.16 s. Where the words are is known from the synthesis.
    assert times[0] >= clip.utterances[0].start - 0.16
    assert times[-1] <= clip.utterances[-1].end + 0.16


def test_a_batch_of_different_lengths_gives_what_each_piece_gives_alone(
    recognizer: Recognizer, clips: dict[str, Clip]
) -> None:
    pieces = [read_audio(clip.path) for clip in clips.values()]
    together = recognizer.recognize(pieces)
    for clip, transcript in zip(clips.values(), together, strict=True):
        assert transcript.text == clip.nemo_text
        assert tuple(token.frame for token in transcript.tokens) == clip.nemo_frames


def test_an_empty_piece_in_a_batch_gives_no_text_and_disturbs_nothing(
    recognizer: Recognizer, clips: dict[str, Clip]
) -> None:
    digits = read_audio(clips["digits"].path)
    results = recognizer.recognize([np.empty(0, np.float32), digits])
    assert results[0] == Transcript()
    assert results[1].text == clips["digits"].nemo_text


@pytest.mark.parametrize("samples", [1, 159, 160, 400, 1000])
def test_a_piece_of_a_few_samples_is_no_error(recognizer: Recognizer, samples: int) -> None:
    [transcript] = recognizer.recognize([np.zeros(samples, np.float32)])
    assert transcript.text == ""


def test_a_piece_beyond_the_models_positions_is_refused_with_the_limit(recognizer: Recognizer) -> None:
    with pytest.raises(AudioError, match="401 s is longer than the 400 s"):
        recognizer.recognize([np.zeros(401 * SAMPLE_RATE, np.float32)])


def test_an_array_gives_the_same_text_as_its_file(model: parakeetd.Model, clips: dict[str, Clip]) -> None:
    clip = clips["digits"]
    samples = (read_audio(clip.path) * 32767).astype(np.int16)
    assert model.transcribe(samples).text == model.transcribe(clip.path).text == clip.nemo_text


def test_a_file_with_pauses_is_cut_at_them(model: parakeetd.Model, clips: dict[str, Clip]) -> None:
    clip = clips["pauses"]
    transcription = model.transcribe(clip.path)
    assert [segment.text for segment in transcription.segments] == [part.text for part in clip.utterances]
    for segment, utterance in zip(transcription.segments, clip.utterances, strict=True):
        assert segment.start <= utterance.start < utterance.end <= segment.end


NEMO_FOLDERS = {
    "an4_test": "an4/test",
    "fsdd_digits": "digits",
    "tts": "tts",
    "lj": "ljspeech",
    "cathy": "cathy",
}


def test_real_recordings_give_nemos_text(model: parakeetd.Model, speech: Path) -> None:
    """At most 1 in 100 may differ: two float32 runtimes may disagree where two tokens score alike."""
    answers = Path(os.environ.get("PARAKEETD_NEMO") or speech.parent / "models" / "nemo")
    if not answers.is_dir():
        pytest.skip(f"no answers of NeMo's in {answers}")
    different, compared = [], 0
    for name, folder in NEMO_FOLDERS.items():
        for line in (answers / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            text = model.transcribe(speech / folder / row["file"], vad="off").text
            compared += 1
            if text != row["hyp"]:
                different.append((row["file"], row["hyp"], text))
    assert compared >= 280
    assert len(different) <= compared // 100, different


@pytest.mark.parametrize("folder", ["an4/test", "digits"])
def test_cutting_at_pauses_costs_at_most_half_a_point_of_word_errors(
    model: parakeetd.Model, speech: Path, folder: str
) -> None:
    manifest = (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, manifest) if row["file"].startswith(folder)]
    said = [row["transcript"].lower() for row in rows]
    whole = [model.transcribe(speech / row["file"], vad="off").text for row in rows]
    cut = [model.transcribe(speech / row["file"]).text for row in rows]
    assert jiwer.wer(said, cut) <= jiwer.wer(said, whole) + 0.005


def test_a_long_recording_is_cut_without_losing_words(model: parakeetd.Model, speech: Path) -> None:
    """12 minutes of utterances with pauses, against the same utterances recognised one by one."""
    pieces = json.loads((speech / "longform/an4_digits.segments.json").read_text(encoding="utf-8"))
    samples = read_audio(speech / "longform/an4_digits.flac")
    alone = [
        model.transcribe(samples[int(p["start"] * SAMPLE_RATE) : int(p["end"] * SAMPLE_RATE)], vad="off").text
        for p in pieces
    ]
    said = " ".join(p["transcript"] for p in pieces)
    whole = model.transcribe(speech / "longform/an4_digits.flac").text
    assert jiwer.wer(said, whole) <= jiwer.wer(said, " ".join(alone)) + 0.005
