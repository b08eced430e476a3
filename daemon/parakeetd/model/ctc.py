"""Greedy decoding of connectionist temporal classification (CTC).

The best path of A. Graves et al., "Connectionist Temporal Classification" (ICML 2006), section 3.2: the likeliest
label of each frame, repeats collapsed, blanks dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parakeetd.model.transcript import Token

Floats = NDArray[np.float32]


def greedy(log_probabilities: Floats, *, blank: int) -> tuple[Token, ...]:
    """The best path over encoder frames.

    A token's frame is the first of its run of repeats, its duration the run's length, its confidence the highest
    probability in the run.

    Args:
        log_probabilities: [T', V + 1], natural logarithms.
        blank: index of blank. A token that is spoken twice has a blank between.
    """
    best = log_probabilities.argmax(axis=1)
    changes = np.flatnonzero(np.diff(best)) + 1
    runs = [run for run in np.split(np.arange(len(best)), changes) if len(run)]
    return tuple(
        Token(
            int(best[run[0]]),
            int(run[0]),
            len(run),
            float(np.exp(log_probabilities[run, best[run[0]]].max().astype(np.float64))),
        )
        for run in runs
        if best[run[0]] != blank
    )
