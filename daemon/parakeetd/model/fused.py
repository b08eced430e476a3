"""The steps of `tdt.greedy` by NeMo's combined graph of prediction network and joint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parakeetd.model.bundle import Architecture
from parakeetd.model.sessions import Session
from parakeetd.model.tdt import Floats


@dataclass(slots=True)
class FusedState:
    """A hypothesis before its last token went through the prediction network, and after, once that is known."""

    last_token: int
    before: tuple[Floats, Floats]
    after: tuple[Floats, Floats] | None = None


class FusedSteps:
    """The steps of one piece. Both networks run at each call."""

    def __init__(self, decoder_joint: Session, encoded: Floats, architecture: Architecture) -> None:
        """
        Args:
            encoded: encoder output of one piece, [D, T'].
        """
        self._run = decoder_joint.run
        # Contiguous frames: the graph takes [1, D, 1], and a strided column would be copied at each step.
        self._frames = np.ascontiguousarray(encoded.T)[:, None, :, None]
        self._architecture = architecture
        self._one = np.ones(1, np.int32)

    def start(self) -> FusedState:
        shape = (self._architecture.prediction_layers, 1, self._architecture.prediction_hidden)
        # Blank stands for the start of the sentence.
        zeros = np.zeros(shape, np.float32)
        return FusedState(self._architecture.vocabulary, (zeros, zeros))

    def joint(self, frame: int, state: FusedState) -> Floats:
        outputs, hidden, cell = self._run(
            {
                "encoder_outputs": self._frames[frame],
                "targets": np.array([[state.last_token]], np.int32),
                "target_length": self._one,
                "input_states_1": state.before[0],
                "input_states_2": state.before[1],
            },
            ["outputs", "output_states_1", "output_states_2"],
        )
        state.after = (hidden, cell)
        logits: Floats = outputs.reshape(-1)
        return logits

    def predict(self, token: int, state: FusedState) -> FusedState:
        if state.after is None:
            raise RuntimeError("predict() before joint(): the state of the last token is not known")
        return FusedState(token, state.after)
