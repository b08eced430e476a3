"""An engine without a model, for tests of everything above it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word


class FakeEngine:
    """Answers each piece with its length in milliseconds as its only word; silence (all zeros) with no text.

    It fails as often as `failures` says, and waits at `gate` when there is one, so that a test decides when it
    answers.
    """

    def __init__(self, *, failures: int = 0, gate: threading.Event | None = None) -> None:
        self.failures = failures
        self.gate = gate
        self.pieces: list[int] = []
        """Lengths in samples of the pieces it was given, failed ones included."""
        self.options: list[DecodeOptions] = []
        """How each piece was to be decoded."""
        self.begun = threading.Event()
        """Set when it was first called."""

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        self.options.extend(options)
        self.pieces.extend(len(samples) for samples in audio)
        self.begun.set()
        if self.gate is not None:
            self.gate.wait()
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the fake engine was told to fail")
        return [_length_as_text(samples) for samples in audio]


def _length_as_text(samples: Samples) -> Transcript:
    if not samples.any():
        return Transcript()
    seconds = len(samples) / SAMPLE_RATE
    text = f"{round(seconds * 1000)}ms"
    return Transcript(text, (Word(text, 0.0, seconds, 1.0),), confidence=1.0)
