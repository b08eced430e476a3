"""Samples for engines without a model, which answer each piece with its length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.session import Result


def speech(seconds: float) -> Samples:
    return np.full(round(seconds * SAMPLE_RATE), 0.1, np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def lengths(results: Sequence[Result]) -> list[str]:
    """Their texts: how long each piece was."""
    return [result.text for result in results]
