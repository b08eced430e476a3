"""An engine without a model, for tests of everything above it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word


class FakeEngine:
    """Answers each piece with its length in milliseconds as its only word; silence (all zeros) with no text.

    It fails as often as `failures` says, and waits at `gate` when there is one, so that a test decides when it
    answers. Some pieces are trouble by their lengths in samples: any batch with one of `refused` raises AudioError, any
    with one of `poisonous` fails as if the device had. A batch of more padded samples than `memory` does not fit.
    """

    def __init__(
        self,
        *,
        failures: int = 0,
        gate: threading.Event | None = None,
        refused: Collection[int] = (),
        poisonous: Collection[int] = (),
        memory: float = float("inf"),
    ) -> None:
        self.failures = failures
        self.gate = gate
        self.refused = refused
        self.poisonous = poisonous
        self.memory = memory
        self.batches: list[list[int]] = []
        """Lengths in samples of the pieces of each batch it was given, failed ones included."""
        self.options: list[DecodeOptions] = []
        """How each piece was to be decoded."""
        self.begun = threading.Event()
        """Set when it was first called."""

    @property
    def pieces(self) -> list[int]:
        """Lengths in samples of all pieces it was given."""
        return [samples for batch in self.batches for samples in batch]

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        lengths = [len(samples) for samples in audio]
        self.options.extend(options)
        self.batches.append(lengths)
        self.begun.set()
        if self.gate is not None:
            self.gate.wait()
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the fake engine was told to fail")
        if len(lengths) * max(lengths) > self.memory:
            raise RuntimeError("CUDA failure 2: out of memory")
        if any(length in self.refused for length in lengths):
            raise AudioError("the fake engine was told to refuse it")
        if any(length in self.poisonous for length in lengths):
            raise RuntimeError("the fake engine was poisoned")
        return [_length_as_text(samples) for samples in audio]


def _length_as_text(samples: Samples) -> Transcript:
    if not samples.any():
        return Transcript()
    seconds = len(samples) / SAMPLE_RATE
    text = f"{round(seconds * 1000)}ms"
    return Transcript(text, (Word(text, 0.0, seconds, 1.0),), confidence=1.0)
