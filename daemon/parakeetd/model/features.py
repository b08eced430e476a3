"""Waveform to log-mel features, by the graph that convert made from the model's own preprocessor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from parakeetd.audio import Samples
from parakeetd.model.buckets import is_unusual
from parakeetd.model.sessions import OnDevice, Session


@dataclass(frozen=True, slots=True)
class Features:
    """Log-mel features of a batch, in the memory of the front end's device."""

    values: OnDevice
    """[B, mels, T], zero after each row's end."""
    lengths: OnDevice
    """[B] int64, frames of each row."""


class LogMel:
    """The log-mel front end of one model."""

    def __init__(self, session: Session, padded: Callable[[int], int] = int) -> None:
        """
        Args:
            padded: samples of a batch's longest piece -> samples it is padded to, not fewer.
        """
        self._session = session
        self._padded = padded

    def __call__(self, audio: Sequence[Samples]) -> Features:
        """Features of a batch.

        Args:
            audio: float32 mono samples at 16 kHz, one array [n] per piece, none empty.
        """
        lengths = np.array([len(samples) for samples in audio], np.int64)
        waveforms = np.zeros((len(audio), self._padded(int(lengths.max()))), np.float32)
        for row, samples in zip(waveforms, audio, strict=True):
            row[: len(samples)] = samples
        features, frames = self._session.run_on_device(
            {"waveforms": waveforms, "waveforms_lens": lengths},
            ["features", "features_lens"],
            shrink=is_unusual(waveforms.size, self._session.device),
        )
        return Features(features, frames)
