"""How loud frames and windows are."""

from __future__ import annotations

import numpy as np

from parakeetd.audio import Samples


def levels_db(frames: Samples) -> list[float]:
    """RMS level of each frame of [n, samples] in dB below full scale, at least -120."""
    power = np.einsum("ns,ns->n", frames, frames) / frames.shape[1]
    levels: list[float] = (10 * np.log10(np.maximum(power, 1e-12))).tolist()
    return levels
