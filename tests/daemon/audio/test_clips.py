from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import soundfile

from clips import Clip
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.file import read_audio

MAX_BYTES = 600_000


def test_every_shipped_file_is_in_the_list(clips: dict[str, Clip]) -> None:
    folder = clips["digits"].path.parent
    assert {path.name for path in folder.glob("*.flac")} == {clip.path.name for clip in clips.values()}
    assert (folder / "LICENSE.md").is_file()


def test_the_clips_are_small(clips: dict[str, Clip]) -> None:
    assert sum(clip.path.stat().st_size for clip in clips.values()) < MAX_BYTES


def test_a_clip_is_what_the_list_says(clip: Clip) -> None:
    info = soundfile.info(clip.path)
    assert (info.samplerate, info.channels) == (clip.rate, clip.channels)
    samples = read_audio(clip.path)
    assert abs(len(samples) - clip.seconds * SAMPLE_RATE) < 0.01 * SAMPLE_RATE
    assert 0.2 < np.abs(samples).max() < 0.9


def test_there_are_pauses_where_the_list_says_and_speech_elsewhere(clip: Clip) -> None:
    samples = read_audio(clip.path)
    edges = [0.0] + [t for said in clip.utterances for t in (said.start, said.end)] + [clip.seconds]
    loudness = [
        float(np.abs(samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]).mean())
        for start, end in itertools.pairwise(edges)
    ]
    assert max(loudness[::2]) < 0.002
    assert min(loudness[1::2]) > 0.02


def test_nemo_itself_hears_what_was_said(clip: Clip) -> None:
    assert clip.nemo_text == clip.text
    assert len(clip.nemo_tokens) == len(clip.nemo_frames)
    assert list(clip.nemo_frames) == sorted(clip.nemo_frames)


def test_the_recordings_of_a_manifest_are_there(speech: Path) -> None:
    assert any(speech.rglob("*.flac"))
