"""The transducer as sherpa-onnx reads it: three graphs and its metadata, in the bundle's subfolder `sherpa/`.

sherpa-onnx (model type `nemo_transducer`) takes tensors by their position, not by name. From the encoder's
metadata it reads the sizes, how to normalise its own log-mel features, and whether the transducer is a TDT: only
when the text of `url` has `tdt` in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from parakeetd.model.bundle import PRECISIONS, TOKENS, Architecture, Precision, graph_file
from parakeetd.model.sessions import open_session
from parakeetd_convert.errors import UnsupportedModel, VerificationFailed
from parakeetd_convert.graphs import all_tensors
from parakeetd_convert.reference import JointTrace
from parakeetd_convert.toolchain import quiet

FOLDER = "sherpa"
DECODER = f"{FOLDER}/decoder.onnx"
JOINER = f"{FOLDER}/joiner.onnx"

OPSET = 17

TOLERANCE = 1e-4
"""Of the joiner's logits against NeMo's, relative to the largest. Measured: 5e-7."""


def encoder_file(precision: Precision) -> str:
    """Path of the encoder in a precision, relative to the bundle; its weights are those of the bundle's own."""
    return f"{FOLDER}/{graph_file('encoder', precision)}"


def write_sherpa(model: Any, architecture: Architecture, folder: Path, source: str) -> None:
    """Write `sherpa/` into a bundle whose own graphs are there already: every precision of the encoder, the
    prediction network (`decoder.onnx`), the joint (`joiner.onnx`) and `tokens.txt`.

    Args:
        model: loaded by NeMo.
        source: name of what was converted, for the metadata.

    Raises:
        UnsupportedModel: durations that sherpa-onnx does not know: it takes a duration's index for its frames.
    """
    if architecture.durations != tuple(range(len(architecture.durations))):
        raise UnsupportedModel(
            f"its durations are {list(architecture.durations)}: sherpa-onnx counts them from 0 without gaps; "
            "convert it without --sherpa"
        )
    (folder / FOLDER).mkdir()
    shutil.copyfile(folder / TOKENS, folder / FOLDER / TOKENS)
    about = metadata(architecture, source, normalize=str(model.preprocessor.featurizer.normalize or "NA"))
    for precision in PRECISIONS:
        if (encoder := folder / graph_file("encoder-model", precision)).is_file():
            _write_encoder(encoder, folder / encoder_file(precision), about)
    _write_prediction(model, architecture, folder / DECODER)
    _write_joint(model, architecture, folder / JOINER)


def metadata(architecture: Architecture, source: str, *, normalize: str) -> dict[str, str]:
    """What sherpa-onnx reads from the encoder.

    Args:
        normalize: how the log-mel features are normalised, in NeMo's terms.
    """
    return {
        "vocab_size": str(architecture.vocabulary),
        "normalize_type": "" if normalize == "NA" else normalize,
        "pred_rnn_layers": str(architecture.prediction_layers),
        "pred_hidden": str(architecture.prediction_hidden),
        "subsampling_factor": str(architecture.subsampling),
        "feat_dim": str(architecture.mels),
        "model_type": "EncDecRNNTBPEModel",
        "version": "2",
        "model_author": "NeMo",
        "url": f"{source} (tdt)",
        "comment": "converted by parakeetd; only the transducer",
    }


def check(folder: Path, architecture: Architecture, traces: list[JointTrace]) -> dict[str, float]:
    """Run prediction network and joint over NeMo's own steps; the encoder is the bundle's, verified as such.

    Returns:
        What was measured, for the manifest.

    Raises:
        VerificationFailed: a logit is out of its tolerance.
    """
    prediction = open_session(folder / DECODER, "cpu", threads=1)
    joint = open_session(folder / JOINER, "cpu", threads=1)
    worst = 0.0
    for trace in traces:
        batch = trace.targets.shape[1]
        shape = (architecture.prediction_layers, batch, architecture.prediction_hidden)
        hidden = cell = np.zeros(shape, np.float32)
        scale = float(np.abs(trace.logits).max())
        for frame, target, logits in zip(trace.frames, trace.targets, trace.logits, strict=True):
            predicted, hidden, cell = prediction.run(
                {
                    "targets": target[:, None],
                    "target_length": np.ones(batch, np.int32),
                    "input_states_1": hidden,
                    "input_states_2": cell,
                },
                ["outputs", "output_states_1", "output_states_2"],
            )
            [outputs] = joint.run(
                {"encoder_outputs": frame[:, :, None], "decoder_outputs": predicted}, ["outputs"]
            )
            worst = max(worst, float(np.abs(outputs[:, 0, 0] - logits).max()) / scale)
    # Written so that NaN fails.
    if not worst <= TOLERANCE:
        problem = f"differs from NeMo's by {worst:.3g}, at most {TOLERANCE:g} is allowed"
        raise VerificationFailed(f"outputs of {JOINER} after {DECODER}", problem)
    return {"sherpa_joint_error": worst}


def _write_encoder(source: Path, target: Path, about: dict[str, str]) -> None:
    """The same graph with metadata. Its weights are linked, not copied: the file system holds them once."""
    import onnx

    graph = onnx.load(source, load_external_data=False)
    onnx.helper.set_model_props(graph, about)
    onnx.save(graph, target)
    for name in set(_data_files(graph)):
        try:
            os.link(source.with_name(name), target.with_name(name))
        except OSError:
            shutil.copyfile(source.with_name(name), target.with_name(name))


def _data_files(model: Any) -> Iterator[str]:
    for tensor in all_tensors(model.graph):
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _write_prediction(model: Any, architecture: Architecture, path: Path) -> None:
    """`targets` [B, U] int32, `target_length` [B] int32, `input_states_1/2` [layers, B, H] -> `outputs` [B, H, U],
    `prednet_lengths`, `output_states_1/2`."""
    import torch

    predict = model.decoder.predict

    class Prediction(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = model.decoder

        def forward(
            self, targets: torch.Tensor, length: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
        ) -> tuple[torch.Tensor, ...]:
            outputs, states = predict(targets.long(), [hidden, cell], add_sos=False, batch_size=None)
            return outputs.transpose(1, 2), length, states[0], states[1]

    # Two of each, so that no axis is taken for fixed.
    state = torch.zeros(architecture.prediction_layers, 2, architecture.prediction_hidden)
    _export(
        Prediction(),
        (torch.zeros(2, 2, dtype=torch.int32), torch.ones(2, dtype=torch.int32), state, state.clone()),
        path,
        inputs={
            "targets": {0: "batch", 1: "symbols"},
            "target_length": {0: "batch"},
            "input_states_1": {1: "batch"},
            "input_states_2": {1: "batch"},
        },
        outputs={
            "outputs": {0: "batch", 2: "symbols"},
            "prednet_lengths": {0: "batch"},
            "output_states_1": {1: "batch"},
            "output_states_2": {1: "batch"},
        },
    )


def _write_joint(model: Any, architecture: Architecture, path: Path) -> None:
    """`encoder_outputs` [B, D, T], `decoder_outputs` [B, H, U] -> `outputs` [B, T, U, V + 1 + durations]."""
    import torch

    class Joint(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = model.joint

        def forward(self, encoder_outputs: torch.Tensor, decoder_outputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network.joint(
                encoder_outputs.transpose(1, 2), decoder_outputs.transpose(1, 2)
            )
            return logits

    # NeMo normalises the outputs on the CPU; tokens and durations together, which is not meant to be exported.
    setting, model.joint.log_softmax = model.joint.log_softmax, False
    try:
        _export(
            Joint(),
            (
                torch.zeros(2, architecture.d_model, 2),
                torch.zeros(2, architecture.prediction_hidden, 3),
            ),
            path,
            inputs={
                "encoder_outputs": {0: "batch", 2: "frames"},
                "decoder_outputs": {0: "batch", 2: "symbols"},
            },
            outputs={"outputs": {0: "batch", 1: "frames", 2: "symbols"}},
        )
    finally:
        model.joint.log_softmax = setting


Axes = dict[str, dict[int, str]]


def _export(module: Any, example: tuple[Any, ...], path: Path, *, inputs: Axes, outputs: Axes) -> None:
    import torch

    with quiet(), torch.inference_mode():
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=inputs | outputs,
            opset_version=OPSET,
            dynamo=False,
        )
