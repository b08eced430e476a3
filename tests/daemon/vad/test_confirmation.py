"""The confirmation of speech on real recordings and on sounds without speech, through the detector and the cutter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import Clip
from noises import KINDS, room
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import ConfigError
from parakeetd.session import Cutter, Segment, SessionSettings
from parakeetd.vad import ConfirmerName, Segmentation, open_confirmer, open_detector
from utterances import mixed, ramped, recorded, voiced_part

BLOCK = SAMPLE_RATE // 10


def cutter(confirm: ConfirmerName = "silero") -> Cutter:
    return SessionSettings(confirm=confirm).cutter()


def cut(samples: Samples, confirm: ConfirmerName = "silero") -> list[Segment]:
    made = cutter(confirm)
    segments = [
        segment for at in range(0, len(samples), BLOCK) for segment in made.feed(samples[at : at + BLOCK])
    ]
    return segments + made.finish()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_noise_gives_no_segment(kind: str) -> None:
    assert cut(KINDS[kind](60.0, np.random.default_rng(1))) == []


@pytest.mark.parametrize("kind", ["keyboard", "music", "pink", "hum"])
def test_the_same_noise_gives_segments_without_the_confirmation(kind: str) -> None:
    """Otherwise the test above would show nothing."""
    assert cut(KINDS[kind](60.0, np.random.default_rng(1)), "off") != []


@pytest.mark.parametrize("kind", ["keyboard", "music"])
def test_noise_is_not_shown_while_it_goes_on(kind: str) -> None:
    noise = KINDS[kind](20.0, np.random.default_rng(2))
    made = cutter()
    for at in range(0, len(noise), BLOCK):
        made.feed(noise[at : at + BLOCK])
        assert made.open_segment() is None


def test_every_utterance_of_a_clip_is_whole_in_the_segments(clip: Clip) -> None:
    segments = cut(read_audio(clip.path))
    for utterance in clip.utterances:
        # The times of the clips are those of the synthesiser's samples, with up to 50 ms of its silence.
        assert any(s.start <= utterance.start + 0.05 and s.end >= utterance.end - 0.05 for s in segments)


@pytest.mark.parametrize("kind", ["white", "keyboard", "fan", "hum"])
def test_speech_in_noise_is_found(clip: Clip, kind: str) -> None:
    speech = read_audio(clip.path)
    noise = KINDS[kind](len(speech) / SAMPLE_RATE + 4.0, np.random.default_rng(3))
    segments = cut(mixed(speech, noise, 10.0))
    shift = (len(noise) - len(speech)) / 2 / SAMPLE_RATE
    for utterance in clip.utterances:
        middle = shift + (utterance.start + utterance.end) / 2
        assert any(segment.start < middle < segment.end for segment in segments)


@pytest.mark.parametrize("gain_db", [0, -20, -30])
def test_a_soft_voice_is_confirmed_too(clips: dict[str, Clip], gain_db: int) -> None:
    speech = read_audio(clips["digits"].path) * np.float32(10 ** (gain_db / 20))
    pad = room(1.0, np.random.default_rng(4), -90.0)
    assert len(cut(np.concatenate([pad, speech, pad]))) == 1


def test_a_segment_that_is_confirmed_late_begins_at_its_pre_roll(clips: dict[str, Clip]) -> None:
    utterance = clips["digits"].utterances[0]
    speech = read_audio(clips["digits"].path)[round(utterance.start * SAMPLE_RATE) :]
    quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
    made = cutter()
    assert made.feed(quiet) == []
    shown = None
    for at in range(0, len(speech), 320):
        made.feed(speech[at : at + 320])
        if (open_segment := made.open_segment()) is not None:
            shown = open_segment
            break
    assert shown is not None
    # It is shown after 160 ms of speech at the earliest, and holds what came before.
    assert shown.end - 2.0 >= 0.16
    assert shown.start <= 2.0 - Segmentation().pre_roll_ms / 1000 + 0.1


def test_single_words_and_utterances_cut_tight_are_found_whole(speech: Path) -> None:
    """All of an4/test, and one in six of the single digits."""
    utterances = recorded(speech, "an4/test") + recorded(speech, "fsdd")[::6]
    rng = np.random.default_rng(5)
    missed, clipped = [], []
    for utterance in utterances:
        sound = ramped(voiced_part(utterance.samples))
        stream = room(len(sound) / SAMPLE_RATE + 4.1, rng)[: len(sound) + 4 * SAMPLE_RATE].copy()
        stream[2 * SAMPLE_RATE : 2 * SAMPLE_RATE + len(sound)] += sound
        end = 2.0 + len(sound) / SAMPLE_RATE
        held = [segment for segment in cut(stream) if segment.start < end and segment.end > 2.0]
        if not held:
            missed.append(utterance.name)
        # The softest beginning of all is a breath, 320 ms before the voice.
        elif held[0].start > 2.0 + 0.03 or held[-1].end < end:
            clipped.append(utterance.name)
    assert len(utterances) >= 100
    assert missed == []
    assert clipped == []


def test_what_is_judged_does_not_depend_on_the_pauses_that_are_skipped(clips: dict[str, Clip]) -> None:
    """The model is not run where nothing is heard; what it says of speech after a short pause stays the same."""
    speech = read_audio(clips["pauses"].path)
    everywhere, where_heard = open_confirmer("silero"), open_confirmer("silero")
    detector = open_detector("webrtc")
    frames = speech[: len(speech) // 320 * 320].reshape(-1, 320)
    heard = detector.are_speech(frames)
    assert not all(heard)
    always = everywhere.judge(frames, [True] * len(frames))
    skipping = where_heard.judge(frames, heard)
    both = [(a.possible, s.possible) for a, s, h in zip(always, skipping, heard, strict=True) if h]
    assert sum(a != s for a, s in both) <= 0.02 * len(both)


def test_streams_do_not_hear_each_other(clips: dict[str, Clip]) -> None:
    """One model serves all; what it remembers is each stream's own."""
    speech = read_audio(clips["digits"].path)
    noise = KINDS["music"](len(speech) / SAMPLE_RATE + 1, np.random.default_rng(6))
    alone = [(segment.start, segment.end) for segment in cut(speech)]
    first, second = cutter(), cutter()
    found: list[Segment] = []
    for at in range(0, len(speech), BLOCK):
        found += first.feed(speech[at : at + BLOCK])
        assert second.feed(noise[at : at + BLOCK]) == []
    found += first.finish()
    assert [(segment.start, segment.end) for segment in found] == alone


def test_an_impossible_threshold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vad\.confirm_threshold must be between 0 and 1"):
        open_confirmer("silero", threshold=1.5)
