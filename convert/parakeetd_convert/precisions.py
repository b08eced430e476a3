"""The encoder, prediction network and joint of a bundle in each precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from parakeetd.model.bundle import Precision, graph_file
from parakeetd_convert.decoder import Decoder, DecoderParts, write_joint, write_prediction, write_projection
from parakeetd_convert.decoder_loop import write_greedy
from parakeetd_convert.errors import UnsupportedModel
from parakeetd_convert.fastconformer import Encoder, write_fast_encoder
from parakeetd_convert.quantize import float32_linear, float32_look_up, int8_linear, int8_look_up
from parakeetd_convert.toolchain import quiet
from parakeetd_convert.writer import GraphWriter, WeightsFile

_REQUIRED: Final[dict[str, tuple[Any, ...]]] = {
    "self_attention_model": ("rel_pos",),
    "subsampling": ("dw_striding",),
    "subsampling_factor": (8,),
    "conv_norm_type": ("batch_norm",),
    "att_context_style": ("regular",),
    "causal_downsampling": (False,),
    "reduction": (None,),
    "att_context_size": ([-1, -1], None),
}
"""Settings of NeMo's ConformerEncoder that the graph is written for: those of every Parakeet-TDT model."""


def supported(model: Any) -> bool:
    """The encoder is one that `fastconformer` writes."""
    return not _obstacle(model.cfg.encoder)


def read_encoder(model: Any) -> Encoder:
    """The weights and settings of a NeMo model's encoder. Shares the model's memory.

    Raises:
        UnsupportedModel: a setting is one that the graph is not written for; the message names it.
    """
    config = model.cfg.encoder
    if obstacle := _obstacle(config):
        raise UnsupportedModel(
            f"int8 and fp16 cannot be made of an encoder with {obstacle}; convert it with --precision fp32"
        )
    weights = {name: tensor.detach().numpy() for name, tensor in model.encoder.state_dict().items()}
    return Encoder(
        weights=weights,
        layers=len(model.encoder.layers),
        heads=int(config.n_heads),
        mels=int(config.feat_in),
        input_scale=math.sqrt(int(config.d_model)) if config.get("xscaling", True) else 1.0,
    )


def _obstacle(config: Any) -> str:
    """The setting that the graph is not written for, as `name = value`; empty when there is none."""
    reach = int(config.conv_kernel_size) // 2
    allowed = {**_REQUIRED, "conv_context_size": (None, [reach, reach])}
    for name, values in allowed.items():
        value = config.get(name, values[0])
        value = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        if value not in values:
            return f"{name} = {value!r}"
    return ""


def write_encoder_as(encoder: Encoder, precision: Precision, folder: Path) -> None:
    """Write `encoder-model` in a precision."""
    path = folder / graph_file("encoder-model", precision)
    linear = int8_linear if precision == "int8" else float32_linear
    write_fast_encoder(encoder, path, linear, half=precision == "fp16")


DECODER_GRAPHS: Final[Mapping[str, Callable[[Decoder, GraphWriter, DecoderParts], None]]] = {
    "projection-model": write_projection,
    "prediction-model": write_prediction,
    "joint-model": write_joint,
    "greedy-model": write_greedy,
}
"""The graphs of our own that decode, and what writes them."""


def decoder_weights(precision: Precision) -> str:
    """Name of the file in which the decoder graphs of a precision keep their weights."""
    return f"{graph_file('decoder-model', precision)}.data"


LOOK_AHEAD: Final[Mapping[Precision, int]] = {"fp32": 8, "int8": 4, "fp16": 8}
"""Frames the loop looks at in one product of the joint. At 4.5 tokens a second eight take 1.25 runs for each token,
four 1.5. On a CPU a run of eight costs more than it saves; on a GPU the runs cost most, and int8 is not for one."""


def write_decoder_as(decoder: Decoder, precision: Precision, folder: Path) -> None:
    """Write the decoder graphs of a precision and the file of weights that they share."""
    as_int8 = (int8_linear, int8_look_up)
    linear, look_up = as_int8 if precision == "int8" else (float32_linear, float32_look_up)
    parts = DecoderParts(decoder, linear, look_up, LOOK_AHEAD[precision])
    with WeightsFile(folder / decoder_weights(precision)) as weights:
        for name, write in DECODER_GRAPHS.items():
            path = folder / graph_file(name, precision)
            with GraphWriter(path, half=precision == "fp16", weights=weights) as graph:
                write(decoder, graph, parts)


def write_decoder_joint_as(precision: Precision, folder: Path) -> None:
    """Write `decoder_joint-model` in int8 or float16, from the float32 graph in the same folder."""
    source, target = (folder / graph_file("decoder_joint-model", p) for p in ("fp32", precision))
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with quiet():
            # Gather is the embedding, a third of the weights of a large vocabulary.
            operators = ["MatMul", "LSTM", "Gather"]
            quantize_dynamic(source, target, op_types_to_quantize=operators, weight_type=QuantType.QInt8)
    else:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
