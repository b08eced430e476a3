"""The decoder graphs of our own against NeMo: its modules step by step, and what its greedy search finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from parakeetd.model.bundle import Bundle, Precision, graph_file
from parakeetd_convert.checked import CheckedGraph
from parakeetd_convert.errors import VerificationFailed
from parakeetd_convert.reference import Heard, JointTrace, Reference

STEPS_TOLERANCE: Final = 1e-4
"""Of the logits, relative to the largest. Measured: 3e-7 with 1 layer, 5e-7 with 2; gates in a wrong order give above
0.01."""


def has_decoder_graphs(bundle: Bundle, precision: Precision) -> bool:
    """The bundle has decoder graphs of our own in a precision."""
    return graph_file("joint-model", precision) in bundle.manifest.files


def steps_error(bundle: Bundle, reference: Reference) -> float:
    """Largest difference of the float32 steps' logits from NeMo's, relative to the largest logit.

    Raises:
        VerificationFailed: it is above the tolerance; the message names the graph.
    """
    steps = Steps(bundle, "fp32")
    return max(steps.error(trace, STEPS_TOLERANCE) for trace in reference.traces)


class Steps:
    """Projection, prediction network and joint of a bundle in a precision."""

    def __init__(self, bundle: Bundle, precision: Precision) -> None:
        self._projection, self._prediction, self._joint = (
            CheckedGraph(bundle, graph_file(name, precision))
            for name in ("projection-model", "prediction-model", "joint-model")
        )

    def error(self, trace: JointTrace, tolerance: float) -> float:
        """Largest difference of a logit from NeMo's over a trace, relative to the largest logit.

        Raises:
            VerificationFailed: it is above the tolerance.
        """
        _, batch = trace.targets.shape
        architecture = self._prediction.architecture
        shape = (architecture.prediction_layers, batch, architecture.prediction_hidden)
        hidden, cell = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        scale = float(np.abs(trace.logits).max())
        # All frames at once, as the decoder projects them: [B, D, steps].
        encoded = np.ascontiguousarray(trace.frames.transpose(1, 2, 0))
        [frames] = self._projection.run({"encoder_outputs": encoded}, ["frames"])
        worst = 0.0
        for step, (target, nemo) in enumerate(zip(trace.targets, trace.logits, strict=True)):
            prediction, hidden, cell = self._prediction.run(
                {"targets": target.astype(np.int64), "input_states_1": hidden, "input_states_2": cell},
                ["prediction", "output_states_1", "output_states_2"],
            )
            # Two frames, as the decoder looks ahead; NeMo looked at the first.
            ahead = frames[:, [step, (step + 1) % len(trace.logits)]]
            [logits] = self._joint.run({"frames": ahead, "prediction": prediction}, ["logits"])
            where = f"step {step + 1} of {len(trace.logits)}, batch {batch}"
            found = self._joint.compare("logits", logits[:, 0], nemo, tolerance, where, scale=scale)
            worst = max(worst, found)
        return worst


@dataclass(frozen=True)
class Emitted:
    """What the loop found in a piece."""

    ids: list[int]
    frames: list[int]
    durations: list[int]
    confidences: list[float]


def run_greedy(graph: CheckedGraph, heard: Heard) -> list[Emitted]:
    """Run the loop over NeMo's own encoder output.

    Raises:
        VerificationFailed: it does not run.
    """
    names = ["tokens", "frames", "durations", "confidences"]
    found = graph.run({"encoder_outputs": heard.encoded, "encoded_lengths": heard.encoded_lens}, names)
    rows = ((row, found[0][:, row] >= 0) for row in range(len(heard.clips)))
    return [Emitted(*(values[emitted, row].tolist() for values in found)) for row, emitted in rows]


def check_greedy(graph: CheckedGraph, heard: Heard) -> None:
    """Every hypothesis of the loop over NeMo's own encoder output must be NeMo's.

    Raises:
        VerificationFailed: one is not, or a confidence is no probability.
    """
    for clip, ours, nemo in zip(heard.clips, run_greedy(graph, heard), heard.hypotheses, strict=True):
        where = f"{graph.file} on {clip.name} in a batch of {len(heard.clips)}"
        for what, mine, theirs in (
            ("tokens", ours.ids, nemo.ids),
            ("frames", ours.frames, nemo.frames),
            ("durations", ours.durations, nemo.durations),
        ):
            if theirs is not None and mine != list(theirs):
                raise VerificationFailed(f"{what} of {where}", f"are {mine}, NeMo's are {list(theirs)}")
        # Written so that NaN fails.
        if not all(0 < confidence <= 1 + 1e-6 for confidence in ours.confidences):
            raise VerificationFailed(f"confidences of {where}", f"are no probabilities: {ours.confidences}")
