"""Audio as the rest of the daemon sees it: float32 mono at 16 kHz, full scale 1.0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz. Every model of the catalog and both voice-activity detectors take this rate."""

Samples = NDArray[np.float32]
"""Mono samples at `SAMPLE_RATE`, shape [n], full scale 1.0."""

__all__ = ["SAMPLE_RATE", "Samples"]
