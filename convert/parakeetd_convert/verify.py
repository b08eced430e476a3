"""ONNX against NeMo: numbers first, then the text that the daemon's own recognizer gives.

The first thing that is not as it must be stops the conversion; its message names the tensor or the clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from parakeetd.errors import ParakeetError
from parakeetd.model.bundle import LOG_MEL_GRAPH, Bundle, graph_file
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.transcript import Transcript
from parakeetd_convert.checked import THREADS, CheckedGraph
from parakeetd_convert.clips import padded
from parakeetd_convert.errors import VerificationFailed
from parakeetd_convert.reference import Heard, Hypothesis, JointTrace, Reference
from parakeetd_convert.verify_decoder import check_greedy, has_decoder_graphs, steps_error

LOG_MEL_TOLERANCE = 1e-3
"""Absolute, on normalised features. Both sides round in float32: on speech 5e-5 is usual, and where a mel
hardly varies the division by its deviation raises that some ten times. Anything wrong in the front end is
above 0.1."""

ENCODER_TOLERANCE = 1e-4
"""Relative to the largest output. Measured: 7e-7 with 6 layers, 1e-6 with 24; a wrong mask or axis gives above
0.1. The hundredfold is for other processors, whose products are summed in another order."""

JOINT_TOLERANCE = 1e-4
"""Relative to the largest logit. Measured: 5e-7."""

CTC_TOLERANCE = 1e-3
"""Absolute, on log-probabilities. Measured: 2e-5."""

Case = TypeVar("Case")

Floats = NDArray[np.float32]


def check(bundle: Bundle, reference: Reference) -> dict[str, Any]:
    """Compare every graph of a float32 bundle, then its text, with NeMo.

    Returns:
        What was measured, for the manifest.

    Raises:
        VerificationFailed: a value is out of its tolerance, a shape is wrong, a text or token time differs.
    """
    hybrid = bundle.manifest.architecture.ctc
    errors = {
        "log_mel_error": _worst(CheckedGraph(bundle, LOG_MEL_GRAPH), _log_mel_error, reference.batches),
        "encoder_error": _worst(
            CheckedGraph(bundle, graph_file("encoder-model", "fp32")), _encoder_error, reference.batches
        ),
        "decoder_joint_error": _worst(
            CheckedGraph(bundle, graph_file("decoder_joint-model", "fp32")), _joint_error, reference.traces
        ),
    }
    if hybrid:
        head = CheckedGraph(bundle, graph_file("ctc-model", "fp32"))
        errors["ctc_error"] = _worst(head, _ctc_error, reference.batches)
    own = has_decoder_graphs(bundle, "fp32")
    if own:
        errors["decoder_steps_error"] = steps_error(bundle, reference)
    measured = {**errors, **_check_text(bundle, reference.batches)}
    if own:
        loop = CheckedGraph(bundle, graph_file("greedy-model", "fp32"))
        for heard in reference.batches:
            check_greedy(loop, heard)
    return measured


def _worst(graph: CheckedGraph, measure: Callable[[CheckedGraph, Case], float], cases: list[Case]) -> float:
    return max(measure(graph, case) for case in cases)


def _log_mel_error(graph: CheckedGraph, heard: Heard) -> float:
    waveforms, lengths = padded(heard.clips)
    features, frames = graph.run(
        {"waveforms": waveforms, "waveforms_lens": lengths}, ["features", "features_lens"]
    )
    where = _names(heard)
    graph.compare("features_lens", frames, heard.features_lens, 0, where)
    return graph.compare("features", features, heard.features, LOG_MEL_TOLERANCE, where)


def _encoder_error(graph: CheckedGraph, heard: Heard) -> float:
    encoded, frames = graph.run(
        {"audio_signal": heard.features, "length": heard.features_lens}, ["outputs", "encoded_lengths"]
    )
    where = _names(heard)
    graph.compare("encoded_lengths", frames, heard.encoded_lens, 0, where)
    if encoded.shape != heard.encoded.shape:
        return graph.compare("outputs", encoded, heard.encoded, ENCODER_TOLERANCE, where)
    # What comes after a clip's end is padding: nobody reads it.
    inside = np.arange(encoded.shape[2])[None, None, :] < frames[:, None, None]
    scale = max(float(np.abs(np.where(inside, heard.encoded, 0)).max()), 1e-6)
    return graph.compare(
        "outputs",
        np.where(inside, encoded, 0),
        np.where(inside, heard.encoded, 0),
        ENCODER_TOLERANCE,
        where,
        scale=scale,
    )


def _joint_error(graph: CheckedGraph, trace: JointTrace) -> float:
    batch = trace.targets.shape[1]
    shape = (graph.architecture.prediction_layers, batch, graph.architecture.prediction_hidden)
    hidden, cell = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    scale = float(np.abs(trace.logits).max())
    worst = 0.0
    for index, (frame, target, logits) in enumerate(
        zip(trace.frames, trace.targets, trace.logits, strict=True)
    ):
        outputs, hidden, cell = graph.run(
            {
                "encoder_outputs": frame[:, :, None],
                "targets": target[:, None],
                "target_length": np.ones(batch, np.int32),
                "input_states_1": hidden,
                "input_states_2": cell,
            },
            ["outputs", "output_states_1", "output_states_2"],
        )
        where = f"step {index + 1} of {len(trace.logits)}, batch {batch}"
        nemo = logits[:, None, None, :]
        worst = max(worst, graph.compare("outputs", outputs, nemo, JOINT_TOLERANCE, where, scale=scale))
    return worst


def _ctc_error(graph: CheckedGraph, heard: Heard) -> float:
    if heard.log_probabilities is None:
        raise VerificationFailed(graph.file, "the model has no CTC head")
    [log_probabilities] = graph.run({"encoder_outputs": heard.encoded}, ["logprobs"])
    return graph.compare("logprobs", log_probabilities, heard.log_probabilities, CTC_TOLERANCE, _names(heard))


def _check_text(bundle: Bundle, batches: list[Heard]) -> dict[str, int]:
    """Run the recognizer that ships on the same batches; text, tokens and their times must be NeMo's."""
    try:
        recognizer = Recognizer.open(bundle, device="cpu", threads=THREADS, precision="fp32")
    except ParakeetError as error:
        raise VerificationFailed(bundle.name, str(error)) from error
    for heard in batches:
        transcripts = recognizer.recognize([clip.samples for clip in heard.clips])
        for clip, ours, nemo in zip(heard.clips, transcripts, heard.hypotheses, strict=True):
            if problem := difference(ours, nemo):
                raise VerificationFailed(f"{clip.name} in a batch of {len(heard.clips)}", problem)
        if bundle.manifest.architecture.ctc:
            _check_ctc_text(recognizer, heard)
    return {
        "clips": len({clip.name for heard in batches for clip in heard.clips}),
        "batches": len(batches),
        "tokens": sum(len(hypothesis.ids) for heard in batches for hypothesis in heard.hypotheses),
        "texts_that_differ": 0,
    }


def _check_ctc_text(recognizer: Recognizer, heard: Heard) -> None:
    options = [DecodeOptions("ctc")] * len(heard.clips)
    transcripts = recognizer.recognize([clip.samples for clip in heard.clips], options)
    for clip, ours, nemo in zip(heard.clips, transcripts, heard.ctc_texts, strict=True):
        if ours.text != nemo:
            where = f"{clip.name} in a batch of {len(heard.clips)}, decoded by CTC"
            raise VerificationFailed(where, f"the text is {ours.text!r}, NeMo's is {nemo!r}")


def difference(ours: Transcript, nemo: Hypothesis) -> str:
    """How a transcript differs from NeMo's, empty when it does not."""
    if ours.text != nemo.text:
        return f"the text is {ours.text!r}, NeMo's is {nemo.text!r}"
    for what, mine, theirs in (
        ("tokens", tuple(token.id for token in ours.tokens), nemo.ids),
        ("token times in frames", tuple(token.frame for token in ours.tokens), nemo.frames),
        ("token durations in frames", tuple(token.duration for token in ours.tokens), nemo.durations),
    ):
        if theirs is not None and mine != theirs:
            return f"the {what} are {list(mine)}, NeMo's are {list(theirs)}"
    return ""


def _names(heard: Heard) -> str:
    return " + ".join(clip.name for clip in heard.clips)
