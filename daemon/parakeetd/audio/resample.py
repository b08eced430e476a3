"""Sample-rate conversion to `SAMPLE_RATE`, whole or as a stream."""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError

MIN_RATE: Final = 4_000
"""Hz. Speech is not intelligible below, and each sample would swell to many."""
MAX_RATE: Final = 768_000
"""Hz. The highest rate that sound hardware records at."""

_QUALITY: Final = "HQ"


def check_rate(rate: int) -> None:
    """Raise AudioError unless the sample rate (Hz) is one that speech is recorded at."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"a sample rate of {rate} Hz cannot be used: send {MIN_RATE} to {MAX_RATE} Hz")


class Resampler:
    """Converts a mono stream to `SAMPLE_RATE`.

    The output does not depend on how the input is cut, and is aligned with it: n samples at `rate` give
    n * SAMPLE_RATE / rate samples (rounded), the first of both at the same instant. At `SAMPLE_RATE` the
    samples pass through untouched.
    """

    def __init__(self, rate: int) -> None:
        """Raises AudioError for a sample rate that cannot be used."""
        check_rate(rate)
        self._stream: soxr.ResampleStream | None = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, quality=_QUALITY)

    def feed(self, samples: Samples) -> Samples:
        """Samples [n] at the input rate in; what is ready at `SAMPLE_RATE` out, possibly nothing."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), dtype=np.float32)

    def finish(self) -> Samples:
        """The samples that the filter still held. Call it once, at the end."""
        nothing = np.zeros(0, np.float32)
        if self._stream is None:
            return nothing
        return np.asarray(self._stream.resample_chunk(nothing, last=True), dtype=np.float32)


def resample(samples: Samples, rate: int) -> Samples:
    """Mono samples [n] at `rate` Hz, converted to `SAMPLE_RATE`.

    Raises:
        AudioError: the sample rate cannot be used.
    """
    resampler = Resampler(rate)
    return np.concatenate([resampler.feed(samples), resampler.finish()])
