"""WebRTC's voice-activity detector: Gaussian mixtures over six sub-bands, a few microseconds a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import webrtcvad

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import ConfigError

FRAME_MS = 20
"""10, 20 or 30. 20 places word edges finer than 30 and flickers less than 10."""

HANGOVER_FRAMES = (7, 7, 5, 3)
"""By aggressiveness: measured on recordings cut at their last sound and followed by a quiet room. The detector's own
tables say 7, 7, 5 and 5; at 3 it misses the ends of words, and 3 is what remains."""


class WebRtcDetector:
    """`webrtcvad` behind the interface of `SpeechDetector`."""

    frame_samples = SAMPLE_RATE * FRAME_MS // 1000

    def __init__(self, aggressiveness: int = 2) -> None:
        """
        Args:
            aggressiveness: 0 lets most through, 3 least.

        Raises:
            ConfigError: not one of 0 to 3.
        """
        if aggressiveness not in range(4):
            raise ConfigError(f"vad.aggressiveness must be 0, 1, 2 or 3, not {aggressiveness}")
        self._vad = webrtcvad.Vad(aggressiveness)
        self.hangover_frames = HANGOVER_FRAMES[aggressiveness]

    def are_speech(self, frames: Samples) -> Sequence[bool]:
        # At once for all of them: a conversion costs as much as a frame's detection.
        pcm = np.clip(frames * np.float32(32768), -32768, 32767).astype("<i2").tobytes()
        size = 2 * self.frame_samples
        return [self._vad.is_speech(pcm[at : at + size], SAMPLE_RATE) for at in range(0, len(pcm), size)]
