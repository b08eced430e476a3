"""The transducer decoder over its graphs, in each of its forms: encoder output of a batch to hypotheses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, Protocol

import numpy as np

from parakeetd.model import tdt, tdt_batch
from parakeetd.model.biasing import Bias
from parakeetd.model.bundle import Architecture, Bundle, Precision, graph_file
from parakeetd.model.fit import check_fit
from parakeetd.model.forms import GRAPHS, Form
from parakeetd.model.fused import FusedSteps
from parakeetd.model.sessions import Device, OnDevice, Session, on_host, open_session, physical_cores
from parakeetd.model.tdt import Floats
from parakeetd.model.tdt_batch import Integers, States
from parakeetd.model.transcript import Token

Biases = Sequence[Bias | None]
"""How the choice of tokens is changed, row by row; empty for not at all."""

BIASED_LOOK_AHEAD: Final = 4
"""Of the rows that the form `loop` leaves to the form `steps`."""

STEP_THREADS = 2
"""A step reads all weights for little work: two threads draw them faster from memory than one, more do not."""

STEP_AWAKE_US = 300
"""Waking a thread takes as long as a step; the next step of a search comes sooner than this."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoder output of a batch."""

    outputs: Floats | OnDevice
    """[B, d_model, T'], on the encoder's device where it came from there."""
    lengths: Integers
    """[B] frames of each row, at most T'."""

    def rows(self, rows: Sequence[int]) -> Encoded:
        """Some of the rows, taken to the host."""
        return Encoded(on_host(self.outputs)[rows], self.lengths[rows])

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """All rows of these as one batch, on the host; rows of shorter parts end in zeros."""
        if len(parts) == 1:
            return parts[0]
        outputs = [on_host(part.outputs) for part in parts]
        [width] = {output.shape[1] for output in outputs}
        whole = np.zeros((sum(map(len, outputs)), width, max(o.shape[2] for o in outputs)), np.float32)
        row = 0
        for output in outputs:
            whole[row : row + len(output), :, : output.shape[2]] = output
            row += len(output)
        return cls(whole, np.concatenate([part.lengths for part in parts]))


class Transducer(Protocol):
    """One form of the decoder."""

    def __call__(self, encoded: Encoded, *, look_ahead: int, biases: Biases = ()) -> list[tuple[Token, ...]]:
        """The greedy hypothesis of each row. `look_ahead` matters to the form `steps` alone."""
        ...


def open_transducer(
    bundle: Bundle, form: Form, *, device: Device, precision: Precision, threads: int = 0
) -> Transducer:
    """Check and open the graphs of a form.

    Args:
        threads: inside one operator on the CPU at most; 0 for one per physical core. A step uses fewer.

    Raises:
        BundleError: a graph is missing, damaged or does not fit the manifest.
        DeviceError: the device cannot be used.
    """
    paths = bundle.checked([graph_file(graph, precision) for graph in GRAPHS[form]])
    sessions = [
        open_session(
            path, device, threads=min(STEP_THREADS, threads or physical_cores()), awake_us=STEP_AWAKE_US
        )
        for path in paths
    ]
    architecture = bundle.manifest.architecture
    for graph, session in zip(GRAPHS[form], sessions, strict=True):
        check_fit(bundle, graph, session)
    if form == "steps":
        projection, prediction, joint = sessions
        return StepsTransducer(architecture, projection, SplitNetworks(architecture, prediction, joint))
    [session] = sessions
    if form == "fused":
        return FusedTransducer(architecture, session)
    other: Form = "steps" if "steps" in bundle.forms(precision) else "fused"
    biased = partial(open_transducer, bundle, other, device=device, precision=precision, threads=threads)
    return LoopTransducer(session, biased)


class SplitNetworks:
    """`tdt_batch.Networks` by the graphs of prediction network and joint."""

    def __init__(self, architecture: Architecture, prediction: Session, joint: Session) -> None:
        self._prediction = prediction
        self._joint = joint
        zeros = np.zeros((architecture.prediction_layers, 1, architecture.prediction_hidden), np.float32)
        # Blank stands for the start of the sentence, which is the same for all.
        self._started = self.predict(np.array([architecture.vocabulary], np.int64), (zeros, zeros))

    def start(self, rows: int) -> tuple[Floats, States]:
        prediction, (hidden, cell) = self._started
        return np.repeat(prediction, rows, 0), (np.repeat(hidden, rows, 1), np.repeat(cell, rows, 1))

    def predict(self, tokens: Integers, states: States) -> tuple[Floats, States]:
        prediction, hidden, cell = self._prediction.run(
            {"targets": tokens, "input_states_1": states[0], "input_states_2": states[1]},
            ["prediction", "output_states_1", "output_states_2"],
        )
        return prediction, (hidden, cell)

    def joint(self, frames: Floats, prediction: Floats) -> Floats:
        logits: Floats
        [logits] = self._joint.run({"frames": frames, "prediction": prediction}, ["logits"])
        return logits


class StepsTransducer:
    """Projection once, then `tdt_batch.greedy`."""

    def __init__(self, architecture: Architecture, projection: Session, networks: tdt_batch.Networks) -> None:
        self._architecture = architecture
        self._projection = projection
        self._networks = networks

    def __call__(self, encoded: Encoded, *, look_ahead: int, biases: Biases = ()) -> list[tuple[Token, ...]]:
        [frames] = self._projection.run_on_device({"encoder_outputs": encoded.outputs}, ["frames"])
        return tdt_batch.greedy(
            frames.numpy(),
            encoded.lengths.tolist(),
            self._networks,
            blank=self._architecture.vocabulary,
            durations=self._architecture.durations,
            max_symbols=self._architecture.max_symbols,
            look_ahead=look_ahead,
            biases=biases,
        )


class LoopTransducer:
    """The whole search in one graph, whose choice of tokens cannot be changed: such rows are left to another form."""

    def __init__(self, greedy: Session, open_biased: Callable[[], Transducer]) -> None:
        """
        Args:
            open_biased: opens the other form. Called when it is first needed: most daemons never do.
        """
        self._greedy = greedy
        self._open_biased = open_biased

    def __call__(
        self, encoded: Encoded, *, look_ahead: int = 1, biases: Biases = ()
    ) -> list[tuple[Token, ...]]:
        if not any(biases):
            return self._searched(encoded)
        hypotheses: list[tuple[Token, ...]] = [()] * len(biases)
        as_they_are = [row for row, bias in enumerate(biases) if bias is None or bias.tree is None]
        if as_they_are:
            searched = self._searched(
                encoded if len(as_they_are) == len(biases) else encoded.rows(as_they_are)
            )
            for row, tokens in zip(as_they_are, searched, strict=True):
                hypotheses[row] = tokens
        # With nothing in it that is shut out, a hypothesis is the one that the biased search would find.
        left = [
            row
            for row, bias in enumerate(biases)
            if bias is not None
            and (bias.tree is not None or not bias.allows(token.id for token in hypotheses[row]))
        ]
        if left:
            some = encoded if len(left) == len(biases) else encoded.rows(left)
            again = self._biased(some, look_ahead=BIASED_LOOK_AHEAD, biases=[biases[row] for row in left])
            for row, tokens in zip(left, again, strict=True):
                hypotheses[row] = tokens
        return hypotheses

    @cached_property
    def _biased(self) -> Transducer:
        return self._open_biased()

    def _searched(self, encoded: Encoded) -> list[tuple[Token, ...]]:
        outputs = self._greedy.run_on_device(
            {"encoder_outputs": encoded.outputs, "encoded_lengths": encoded.lengths},
            ["tokens", "frames", "durations", "confidences"],
        )
        return rows_of(*(output.numpy() for output in outputs))


class FusedTransducer:
    """`tdt.greedy` row by row over NeMo's own graph, which every bundle has."""

    def __init__(self, architecture: Architecture, decoder_joint: Session) -> None:
        self._architecture = architecture
        self._decoder_joint = decoder_joint

    def __call__(
        self, encoded: Encoded, *, look_ahead: int = 1, biases: Biases = ()
    ) -> list[tuple[Token, ...]]:
        return [
            tdt.greedy(
                length,
                FusedSteps(self._decoder_joint, row[:, :length], self._architecture),
                blank=self._architecture.vocabulary,
                durations=self._architecture.durations,
                max_symbols=self._architecture.max_symbols,
                bias=bias,
            )
            for row, length, bias in zip(
                on_host(encoded.outputs),
                encoded.lengths.tolist(),
                biases or [None] * len(encoded.lengths),
                strict=True,
            )
        ]


def rows_of(
    tokens: Integers, frames: Integers, durations: Integers, confidences: Floats
) -> list[tuple[Token, ...]]:
    """Hypotheses from what each iteration gave each row, [I, B]; a token of -1 is none."""
    return [
        tuple(
            Token(*emitted)
            for emitted in zip(
                tokens[chosen, row].tolist(),
                frames[chosen, row].tolist(),
                durations[chosen, row].tolist(),
                confidences[chosen, row].tolist(),
                strict=True,
            )
        )
        for row in range(tokens.shape[1])
        for chosen in [np.flatnonzero(tokens[:, row] >= 0)]
    ]
