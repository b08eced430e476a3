"""Voice-activity detection: which frames are speech, and which spans of frames are worth recognising."""

from __future__ import annotations

from typing import Literal, Protocol

from parakeetd.audio import Samples
from parakeetd.vad.off import EverythingIsSpeech
from parakeetd.vad.segmenter import Segmentation, Segmenter, Span
from parakeetd.vad.webrtc import WebRtcDetector

__all__ = [
    "DetectorName",
    "EverythingIsSpeech",
    "Segmentation",
    "Segmenter",
    "Span",
    "SpeechDetector",
    "WebRtcDetector",
    "open_detector",
]


class SpeechDetector(Protocol):
    """Says of each frame, in the order of a stream, whether it is speech. One detector per stream: it adapts."""

    @property
    def frame_samples(self) -> int:
        """Samples per frame at 16 kHz."""
        ...

    def is_speech(self, frame: Samples) -> bool:
        """Judge one frame of exactly `frame_samples` samples."""
        ...


DetectorName = Literal["webrtc", "off"]


def open_detector(name: DetectorName, *, aggressiveness: int = 2) -> SpeechDetector:
    """A detector for one new stream."""
    return EverythingIsSpeech() if name == "off" else WebRtcDetector(aggressiveness)
