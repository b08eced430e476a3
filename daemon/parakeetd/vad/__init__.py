"""Voice-activity detection: which frames are speech, and which spans of frames are worth recognising."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from parakeetd.audio import Samples
from parakeetd.vad.evidence import Verdict
from parakeetd.vad.off import EverythingIsSpeech, NothingIsDoubted
from parakeetd.vad.segmenter import Segmentation, Segmenter, Span
from parakeetd.vad.silero import SileroConfirmer, shared_model
from parakeetd.vad.webrtc import WebRtcDetector

__all__ = [
    "CONFIRM_THRESHOLD",
    "Confirmer",
    "ConfirmerName",
    "DetectorName",
    "EverythingIsSpeech",
    "NothingIsDoubted",
    "Segmentation",
    "Segmenter",
    "SileroConfirmer",
    "Span",
    "SpeechDetector",
    "Verdict",
    "WebRtcDetector",
    "open_confirmer",
    "open_detector",
]


class SpeechDetector(Protocol):
    """Says of each frame, in the order of a stream, whether it is speech. One detector per stream: it adapts.

    What it says does not depend on how many frames come at once; all of a message cost little more than one.
    """

    @property
    def frame_samples(self) -> int:
        """Samples per frame at 16 kHz."""
        ...

    @property
    def hangover_frames(self) -> int:
        """Frames for which it goes on to say speech after speech has ended."""
        ...

    def are_speech(self, frames: Samples) -> Sequence[bool]:
        """Judge the next frames, [n, frame_samples]."""
        ...


class Confirmer(Protocol):
    """Takes a second look at what a detector calls speech. One per stream: it remembers.

    As with a detector, verdicts do not depend on how many frames come at once.
    """

    def judge(self, frames: Samples, heard: Sequence[bool]) -> Sequence[Verdict]:
        """Take every frame of the stream in its order, [n, frame_samples]; `heard` says which the detector took for
        speech."""
        ...

    def finish(self) -> bool:
        """The stream is over: whether what was heard last is confirmed."""
        ...


DetectorName = Literal["webrtc", "off"]
ConfirmerName = Literal["silero", "off"]

CONFIRM_THRESHOLD = 0.6
"""Measured: 2 of 365 isolated words stay below it in a quiet room, 1 in 40 minutes of tones like music reaches it."""


def open_detector(name: DetectorName, *, aggressiveness: int = 2) -> SpeechDetector:
    """A detector for one new stream."""
    return EverythingIsSpeech() if name == "off" else WebRtcDetector(aggressiveness)


def open_confirmer(name: ConfirmerName, *, threshold: float = CONFIRM_THRESHOLD) -> Confirmer:
    """A confirmer for one new stream.

    Raises:
        ConfigError: the threshold is not between 0 and 1;
        DeviceError: its model cannot be opened.
    """
    return NothingIsDoubted() if name == "off" else SileroConfirmer(shared_model(), threshold)
