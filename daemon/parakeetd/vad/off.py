"""No detection: all audio is speech, so that a file is one segment up to the maximum length. No doubt either."""

from __future__ import annotations

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.vad.evidence import Verdict


class EverythingIsSpeech:
    frame_samples = SAMPLE_RATE * 20 // 1000
    hangover_frames = 0

    def is_speech(self, frame: Samples) -> bool:
        return True


class NothingIsDoubted:
    """Whatever the detector hears is confirmed."""

    def judge(self, frame: Samples, heard: bool) -> Verdict:
        return Verdict(heard, heard)

    def finish(self) -> bool:
        return True
