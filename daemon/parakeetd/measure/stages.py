"""Where the time of one segment goes: features, encoder, decoder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from parakeetd.measure.speech import speech
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.recognizer import Recognizer


@dataclass(frozen=True, slots=True)
class Stages:
    """Median seconds of the stages of one segment."""

    features: float
    encoder: float
    decoder: float

    @property
    def shares(self) -> tuple[float, float, float]:
        """Each stage's part of the whole, in this order."""
        whole = self.features + self.encoder + self.decoder
        return self.features / whole, self.encoder / whole, self.decoder / whole


def measure_stages(
    recognizer: Recognizer, seconds: float, *, rounds: int = 5, clock: Callable[[], float] = time.perf_counter
) -> Stages:
    """Time the stages of a segment of so many seconds, after one run that does not count."""
    audio, options = speech(seconds), [DecodeOptions()]
    taken: list[tuple[float, float, float]] = []
    for _ in range(rounds + 1):
        begun = clock()
        features = recognizer.features(audio)
        heard = clock()
        encoded = recognizer.encode(features)
        encoded_at = clock()
        recognizer.decoders(encoded, options)
        taken.append((heard - begun, encoded_at - heard, clock() - encoded_at))
    return Stages(*(statistics.median(stage) for stage in zip(*taken[1:], strict=True)))
