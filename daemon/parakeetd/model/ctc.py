"""Greedy decoding of connectionist temporal classification (CTC).

The best path of A. Graves et al., "Connectionist Temporal Classification" (ICML 2006), section 3.2: the likeliest
label of each frame, repeats collapsed, blanks dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parakeetd.model.biasing import Bias
from parakeetd.model.transcript import Token

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def greedy(log_probabilities: Floats, *, blank: int, bias: Bias | None = None) -> tuple[Token, ...]:
    """The best path over encoder frames.

    A token's frame is the first of its run of repeats, its duration the run's length, its confidence the highest
    probability in the run.

    Args:
        log_probabilities: [T', V + 1], natural logarithms.
        blank: index of blank. A token that is spoken twice has a blank between.
        bias: how the choice of tokens is changed, if it is. Phrases change what a run stands for, not where runs are:
            it is decided at a run's first frame.
    """
    best = log_probabilities.argmax(axis=1)
    if bias is not None and bias.allowed is not None and not bias.allowed[best].all():
        best = np.where(bias.allowed, log_probabilities, -np.inf).argmax(axis=1)
    changes = np.flatnonzero(np.diff(best)) + 1
    runs = [run for run in np.split(np.arange(len(best)), changes) if len(run)]
    labels = [int(best[run[0]]) for run in runs]
    if bias is not None and bias.tree is not None:
        labels = _boosted(log_probabilities, runs, labels, blank, bias)
    return tuple(
        Token(
            label,
            int(run[0]),
            len(run),
            float(np.exp(log_probabilities[run, label].max().astype(np.float64))),
        )
        for run, label in zip(runs, labels, strict=True)
        if label != blank
    )


def _boosted(
    log_probabilities: Floats, runs: list[Integers], labels: list[int], blank: int, bias: Bias
) -> list[int]:
    """The label of each run with phrases boosted."""
    steering = bias.steering()
    boosted: list[int] = []
    trial_at = 0
    while len(boosted) < len(runs):
        at = len(boosted)
        label = labels[at]
        if label != blank:
            # Side by side, a token and the same again are one.
            before = boosted[-1] if boosted else blank
            if label == before:
                label = blank
            else:
                label = steering.boosted(log_probabilities[runs[at][0], :blank], label, not_again=before)
                trial_at = at if steering.begun else trial_at
        boosted.append(label)
        if steering.failed or (len(boosted) == len(runs) and steering.on_trial):
            del boosted[trial_at:]
            boosted.append(labels[trial_at])
            steering.take_back(labels[trial_at])
    return boosted
