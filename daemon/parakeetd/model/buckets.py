"""Lengths that a GPU's batches are rounded up to, and the size of a batch whose memory a device does not keep.

Each new shape costs a GPU a search for kernels and blocks of memory that fit it, so there should be few. Padding is
computed for nothing, so it should be short: the steps grow with the length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from parakeetd.audio import SAMPLE_RATE
from parakeetd.model.sessions import Device

STEP: Final = round(0.32 * SAMPLE_RATE)
"""Samples between the shortest buckets; a multiple of an encoder frame (1,280 samples) in all models so far."""

STEPS_PER_OCTAVE: Final = 8
"""Buckets for each doubling of the length: above 2.56 s, padding is at most an eighth of the audio."""

USUAL: Final = round(10.24 * SAMPLE_RATE)
"""Longest bucket that a GPU is warmed up for, in samples; few utterances are longer."""

MOST_KEPT: Final[Mapping[Device, int]] = {
    "cpu": round(20.48 * SAMPLE_RATE),
    "cuda": 8 * round(20.48 * SAMPLE_RATE),
}
"""Samples of the largest batch whose memory a device keeps for the next: one long utterance on a CPU, which gets memory
quickly and shares it with everybody, blocks for eight of them on a GPU. A larger one gives its blocks back: eight
long utterances leave 1.2 GB of them on a CPU, with 600 million int8 weights. One that gave back each batch's would
take a sixth to a half more time."""


def bucket(samples: int) -> int:
    """The length that `samples` is padded to: at least as long, and by at most `max(STEP, samples / 8)` longer."""
    step = STEP
    while samples > 2 * STEPS_PER_OCTAVE * step:
        step *= 2
    return max(1, -(-samples // step)) * step


def padded(samples: int, most: int) -> int:
    """The bucket, unless that is longer than the `most` samples that a model takes."""
    return max(samples, min(bucket(samples), most))


def usual_buckets() -> list[int]:
    """Every bucket up to `USUAL`, longest first: shorter ones then fit into memory that was taken already."""
    lengths = [bucket(1)]
    while lengths[-1] < USUAL:
        lengths.append(bucket(lengths[-1] + 1))
    return lengths[::-1]


def is_unusual(samples: int, device: Device) -> bool:
    """Whether a batch of so many samples, padding included, takes more memory than a device should keep."""
    return samples > MOST_KEPT[device]
