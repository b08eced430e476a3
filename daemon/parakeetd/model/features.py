"""Waveform to log-mel features, by the graph that convert made from the model's own preprocessor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parakeetd.audio import Samples
from parakeetd.model.sessions import Session


class LogMel:
    """The log-mel front end of one model."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, audio: Sequence[Samples]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features of a batch.

        Args:
            audio: float32 mono samples at 16 kHz, one array [n] per piece, none empty.

        Returns:
            Features [B, mels, T], zero after each piece's end, and lengths [B] in frames.
        """
        lengths = np.array([len(samples) for samples in audio], np.int64)
        waveforms = np.zeros((len(audio), int(lengths.max())), np.float32)
        for row, samples in zip(waveforms, audio, strict=True):
            row[: len(samples)] = samples
        features, frames = self._session.run(
            {"waveforms": waveforms, "waveforms_lens": lengths}, ["features", "features_lens"]
        )
        return features, frames
