"""What a stream's probabilities of speech amount to: pure decisions, and the windows that they are asked for.

Nothing here runs a model: `Windows` turns frames into its inputs, `Evidence` its outputs into a verdict.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parakeetd.audio import Samples
from parakeetd.errors import ConfigError
from parakeetd.vad.levels import levels_db

WINDOW = 512
"""Samples per probability, 32 ms: what the model was trained on."""
CONTEXT = 64
"""Samples before a window that the model sees too."""
KEPT_WINDOWS = 16
"""Windows, half a second, that wait until a probability is wanted. Older ones are never asked about. What the model
remembers stays: music looks like speech to a model that has just woken up, and never again a second later."""

TARGET_DB = -20.0
"""Level that speech is brought to, of full scale: the model misses soft voices."""
MAX_GAIN_DB = 30.0
DECAY_DB = 0.2
"""Fall of the followed level per window: 6 dB a second, so that the words of a sentence keep their proportions."""


class Verdict(NamedTuple):
    """What a second look says of a frame that a detector has judged."""

    possible: bool
    """The detector took it for speech, and that is not ruled out."""
    confirmed: bool
    """With this frame it is beyond doubt that there is, or was just now, speech: its segment is recognised."""


class Wanted(NamedTuple):
    """Which windows a frame asks about."""

    windows: int = 0
    """How many, the next of those that its message asks about."""
    gap: bool = False
    """Others before them have been dropped."""


class Windows:
    """The frames of one stream as the model's inputs, brought to one level, kept until they are wanted."""

    def __init__(self) -> None:
        self._filled = np.zeros(CONTEXT, np.float32)
        """Context and samples of the window that is filling."""
        self._kept: deque[tuple[Samples, float]] = deque()
        """Windows that may be wanted yet, each with the level in dB that was followed until then."""
        self._complete = 0
        """Windows of the stream so far."""
        self._asked = -1
        """One past the last that was wanted; -1: none has been."""
        self._samples = 0
        self._level_db = -math.inf

    def push(self, frames: Samples, heard: Sequence[bool]) -> tuple[NDArray[np.float32], list[Wanted]]:
        """Take the next frames of the stream. One in which something is heard wants the windows complete with it.

        Args:
            frames: [n, any number of samples]; heard: [n].

        Returns:
            windows that are wanted, [k, CONTEXT + WINDOW], and for each frame which of them.
        """
        self._fill(frames.reshape(-1))
        first_kept = self._complete - len(self._kept)
        windows: list[tuple[Samples, float]] = []
        wanted = []
        for one in heard:
            self._samples += frames.shape[1]
            complete = self._samples // WINDOW
            if not one or complete == max(self._asked, 0):
                wanted.append(Wanted())
                continue
            first = max(self._asked, complete - KEPT_WINDOWS, 0)
            wanted.append(Wanted(complete - first, first > self._asked))
            windows += [self._kept[number - first_kept] for number in range(first, complete)]
            self._asked = complete
        while len(self._kept) > min(KEPT_WINDOWS, self._complete - self._asked):
            self._kept.popleft()
        return (_brought_to_level(windows) if windows else _NO_WINDOWS), wanted

    def _fill(self, samples: Samples) -> None:
        filled = np.concatenate([self._filled, samples])
        count = (len(filled) - CONTEXT) // WINDOW
        bodies = filled[CONTEXT : CONTEXT + count * WINDOW].reshape(count, WINDOW)
        for number, level_db in enumerate(levels_db(bodies)):
            self._level_db = max(level_db, self._level_db - DECAY_DB)
            window = filled[number * WINDOW : (number + 1) * WINDOW + CONTEXT]
            self._kept.append((window, self._level_db))
        self._complete += count
        self._filled = filled[count * WINDOW :]


def _brought_to_level(windows: Sequence[tuple[Samples, float]]) -> NDArray[np.float32]:
    # All at once: of these operations on a single window, most of the time is Python's.
    levels = np.array([level_db for _, level_db in windows], np.float32)
    gains = 10 ** (np.clip(TARGET_DB - levels, 0.0, MAX_GAIN_DB) / 20)
    inputs = np.stack([window for window, _ in windows])
    inputs *= gains[:, None]
    return np.clip(inputs, -1.0, 1.0, out=inputs)


_NO_WINDOWS: NDArray[np.float32] = np.empty((0, CONTEXT + WINDOW), np.float32)


class Evidence:
    """The probabilities of one stream, and what follows from them."""

    CONFIRMING = 5
    """Windows, 160 ms, over whose mean is decided: tones of music look like speech for shorter than syllables do."""
    LASTING = 2
    """Windows that one of possible speech counts for: frames are judged by the window before theirs is full."""
    POSSIBLE = 0.2
    """Share of the threshold from which speech is possible: words begin and end softly."""
    ALONE = 1 / 3
    """Share of the threshold that confirms what quiet follows: some voices say single words of which the model is never
    sure, while noise that looks like speech for a moment goes on."""
    QUIET_SECONDS = 0.1
    IN_VAIN_SECONDS = 0.5
    """What the detector may have heard in vain at that moment: where it hears much, quiet means little."""
    IN_VAIN_SHARE = 0.6
    """Or this share of all that it has heard: a voice that the model knows badly is ruled out now and then too."""
    FORGET_SECONDS = 10.0
    """Time in which what was heard counts a third."""

    def __init__(self, threshold: float) -> None:
        """
        Args:
            threshold: mean probability that confirms, above 0 and below 1.

        Raises:
            ConfigError: it is not.
        """
        if not 0 < threshold < 1:
            raise ConfigError(f"vad.confirm_threshold must be between 0 and 1, not {threshold}")
        self._threshold = threshold
        self._last: deque[float] = deque(maxlen=self.CONFIRMING)
        self._possible = False
        """Whether one of the last `LASTING` windows allows for speech."""
        self._mean = 0.0
        """Largest mean over `CONFIRMING` windows that ends in those added last."""
        self._best = 0.0
        """The largest since it was quiet."""
        self._quiet = 0.0
        """Seconds since the detector heard something."""
        self._heard = 0.0
        """Seconds that it heard; older ones count less."""
        self._in_vain = 0.0
        """Those of them that the model ruled out."""

    def forget(self) -> None:
        """What follows does not join what came before."""
        self._last.clear()
        self._possible = False

    def add(self, probabilities: Sequence[float]) -> None:
        """Take those of the next windows, one at least."""
        self._mean = 0.0
        for probability in probabilities:
            self._last.append(probability)
            self._mean = max(self._mean, sum(self._last) / self.CONFIRMING)
        self._best = max(self._best, self._mean)
        self._possible = max(list(self._last)[-self.LASTING :]) >= self._threshold * self.POSSIBLE

    def judge(self, seconds: float, heard: bool) -> Verdict:
        """The verdict on the next frame of the stream, of so many seconds."""
        kept = _kept_after(seconds / self.FORGET_SECONDS)
        self._heard, self._in_vain = self._heard * kept, self._in_vain * kept
        if not heard:
            before, self._quiet = self._quiet, self._quiet + seconds
            # Once, when it has just become quiet.
            return Verdict(False, before < self.QUIET_SECONDS <= self._quiet and self.ended())
        self._quiet = 0.0
        self._heard += seconds
        if not self._possible:
            self._in_vain += seconds
        return Verdict(self._possible, self._possible and self._mean >= self._threshold)

    def ended(self) -> bool:
        """Whether what has been heard is confirmed by the quiet after it. Asked once: it is forgotten."""
        best, self._best = self._best, 0.0
        trusted = self._in_vain < max(self.IN_VAIN_SECONDS, self.IN_VAIN_SHARE * self._heard)
        return trusted and best >= self._threshold * self.ALONE


@cache
def _kept_after(time_constants: float) -> float:
    """What is left of a memory that fades. Frames of a detector are all of one length."""
    return math.exp(-time_constants)
