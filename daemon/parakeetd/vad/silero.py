"""Silero VAD: a small recurrent network that tells speech from whatever else is loud. Here it confirms.

It costs some 30 µs of a core per 32 ms of audio that another detector took for speech, and nothing for the rest.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from importlib import resources

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import DeviceError
from parakeetd.vad.evidence import Evidence, Verdict, Windows

STATE_SHAPE = (1, 1, 128)
"""Of the hidden state and of the cell state, each."""

State = tuple[NDArray[np.float32], NDArray[np.float32]]


class SileroModel:
    """The network. One serves all streams, from any thread; what it remembers of a stream is passed in and out."""

    def __init__(self) -> None:
        """
        Raises:
            DeviceError: ONNX Runtime cannot open it.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # A window needs a few kilobytes; an arena would keep what the longest run of windows ever took, and a plan is
        # kept for each number of windows.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.log_severity_level = 3
        graph = resources.files("parakeetd") / "embedded/silero/silero_vad_16k_products.onnx"
        try:
            self._session = ort.InferenceSession(
                graph.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise DeviceError(
                "cpu", f"cannot open {graph}: {error}; install parakeetd again, or set vad.confirm to off"
            ) from error

    def __call__(self, windows: NDArray[np.float32], state: State) -> tuple[NDArray[np.float32], State]:
        """Probabilities of speech in consecutive windows.

        Args:
            windows: [n, CONTEXT + WINDOW], n at least 1.
            state: what the last call on this stream gave, or `silence()`.

        Returns:
            probabilities [n], 0 to 1, and the new state.
        """
        probabilities, hidden, cell = self._session.run(
            ["speech_probs", "hn", "cn"], {"input": windows, "h": state[0], "c": state[1]}
        )
        return probabilities, (hidden, cell)

    @staticmethod
    def silence() -> State:
        """The state at the beginning of a stream."""
        return np.zeros(STATE_SHAPE, np.float32), np.zeros(STATE_SHAPE, np.float32)


class SileroConfirmer:
    """Confirms one stream."""

    def __init__(self, model: SileroModel, threshold: float) -> None:
        """
        Args:
            threshold: mean probability over 160 ms that counts as speech, between 0 and 1.

        Raises:
            ConfigError: the threshold is not.
        """
        self._model = model
        self._windows = Windows()
        self._evidence = Evidence(threshold)
        self._state = model.silence()

    def judge(self, frames: Samples, heard: Sequence[bool]) -> Sequence[Verdict]:
        windows, wanted = self._windows.push(frames, heard)
        # One run for all: a window by itself costs twice as much as one of three.
        probabilities: Sequence[float] = ()
        if len(windows):
            found, self._state = self._model(windows, self._state)
            probabilities = found.tolist()
        verdicts, at, seconds = [], 0, frames.shape[1] / SAMPLE_RATE
        for want, one in zip(wanted, heard, strict=True):
            if want.gap:
                self._evidence.forget()
            if want.windows:
                self._evidence.add(probabilities[at : at + want.windows])
                at += want.windows
            verdicts.append(self._evidence.judge(seconds, one))
        return verdicts

    def finish(self) -> bool:
        return self._evidence.ended()


_opening = threading.Lock()


def shared_model() -> SileroModel:
    """The process's only one, opened when it is first asked for.

    Raises:
        DeviceError: it cannot be opened.
    """
    with _opening:
        return _opened()


@functools.cache
def _opened() -> SileroModel:
    return SileroModel()
