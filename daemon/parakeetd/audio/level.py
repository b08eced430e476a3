"""How loud audio is. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from parakeetd.audio import Samples

FLOOR_DB: Final = -96.0
"""Of silence: the quietest that 16 bits can tell."""


@dataclass(frozen=True, slots=True)
class Level:
    """Decibels relative to full scale, `FLOOR_DB` to 0."""

    rms: float = FLOOR_DB
    """Of a sine at full scale: -3."""
    peak: float = FLOOR_DB


def level_of(samples: Samples) -> Level:
    """The level of samples [n]; of none, that of silence."""
    if not len(samples):
        return Level()
    # Imported here: those who show a level measure none.
    import numpy as np

    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return Level(_decibels(power**0.5), _decibels(float(np.max(np.abs(samples)))))


def _decibels(amplitude: float) -> float:
    floor = 10.0 ** (FLOOR_DB / 20.0)
    return float(min(0.0, 20.0 * math.log10(max(amplitude, floor))))
