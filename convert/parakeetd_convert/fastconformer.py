"""The FastConformer encoder as a graph of our own, prepared for speed.

NeMo's exported graph is faithful but general: it masks as if every batch had padding, projects the same relative
positions again in every layer of every call, and keeps pointwise convolutions that cannot be quantised. This one
computes the same function of the same weights (Rekesh et al., "Fast Conformer with Linearly Scalable Attention",
2023; relative positions of Dai et al., "Transformer-XL", 2019, appendix B) with less work:

- the projected positions of each layer are a table, of which a call takes a slice when the layer needs it;
- subsampling masks only batches that have padding;
- pointwise convolutions are matrix products, and so are query, key and value, in one;
- what is constant is folded into weights: batch norm, the half of the feed-forward residuals, the attention's scale.

Frames behind a piece's length are not defined: NeMo's differ there, and nobody reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from parakeetd_convert.writer import CONTRIB, GraphWriter, Nodes

Floats = NDArray[np.float32]

TABLE_FRAMES: Final = 256
"""Encoder frames (20.5 s) up to which positions come from the table; longer pieces project them."""

_MASKED: Final = -10_000.0
"""Added to the scores of padded keys; NeMo's own value."""

_LAYER_NORM_EPSILON: Final = 1e-5
_BATCH_NORM_EPSILON: Final = 1e-5


class Linear(Protocol):
    """Writes x @ weight + bias in some precision."""

    def __call__(self, nodes: Nodes, x: str, weight: Floats, bias: Floats | None) -> str:
        """
        Args:
            weight: [in, out].
            bias: [out].
        """
        ...


@dataclass(frozen=True)
class Encoder:
    """What the graph is made from."""

    weights: Mapping[str, Floats]
    """NeMo's names, without `encoder.`."""
    layers: int
    heads: int
    mels: int
    input_scale: float = 1.0
    """What the subsampled input is multiplied by; sqrt(D) in some models."""

    @property
    def width(self) -> int:
        """D."""
        return int(self.weights["pre_encode.out.weight"].shape[0])

    def __getitem__(self, name: str) -> Floats:
        return self.weights[name]

    def bias(self, name: str) -> Floats | None:
        return self.weights.get(f"{name}.bias")


def write_fast_encoder(encoder: Encoder, path: Path, linear: Linear, *, half: bool = False) -> None:
    """Write `audio_signal` [B, mels, T] float32, `length` [B] int64 -> `outputs` [B, D, T'], `encoded_lengths` [B].

    Args:
        linear: how matrix products with weights are written.
        half: compute in float16, but positions, whose angles need more digits than it has.
    """
    with GraphWriter(path, half=half) as graph:
        features = graph.input("audio_signal", TensorProto.FLOAT, ["batch", encoder.mels, "time"])
        length = graph.input("length", TensorProto.INT64, ["batch"])
        x, lengths = _subsample(graph, encoder, features, length, linear)
        frames = graph.add("Gather", graph.add("Shape", x), graph.ints(1), axis=0)
        valid = _valid_frames(graph, frames, lengths)
        offsets = _offsets(graph, encoder, frames, lengths)
        for i in range(encoder.layers):
            x = _layer(graph, encoder, f"layers.{i}", x, offsets, valid, linear)
        graph.output(
            graph.add("Transpose", x, perm=[0, 2, 1]),
            "outputs",
            TensorProto.FLOAT,
            ["batch", encoder.width, "frames"],
        )
        graph.output(lengths, "encoded_lengths", TensorProto.INT64, ["batch"])


# --- subsampling ---


def _subsample(g: GraphWriter, e: Encoder, features: str, length: str, linear: Linear) -> tuple[str, str]:
    """Three strided convolutions: [B, mels, T] -> [B, T', D], and the lengths in encoder frames."""
    image = g.add("Unsqueeze", g.add("Transpose", features, perm=[0, 2, 1]), g.ints(1))
    lengths = [length]
    for _ in range(3):
        # floor((length + 2 - 3) / 2) + 1
        halved = g.add("Div", g.add("Sub", lengths[-1], g.ints(1)), g.ints(2))
        lengths.append(g.add("Add", halved, g.ints(1)))
    longest = g.add("Gather", g.add("Shape", features), g.ints(2), axis=0)
    shortest = g.add("ReduceMin", length, keepdims=1)
    # Outside a batch of different lengths there is nothing to mask, and a mask costs as much as a convolution.
    padded = g.add("Reshape", g.add("Less", shortest, longest), g.constant(np.empty(0, np.int64)))
    masked, plain = g.branch(), g.branch()
    [convolved] = g.add_if(
        padded,
        masked,
        [_convolve(masked, e, image, lengths)],
        plain,
        [_convolve(plain, e, image, None)],
    )
    rows = g.add("Transpose", convolved, perm=[0, 2, 1, 3])
    flat = g.add("Reshape", rows, g.ints(0, 0, -1))
    weight, bias = e["pre_encode.out.weight"].T, e.bias("pre_encode.out")
    scaled = weight * e.input_scale, None if bias is None else bias * e.input_scale
    return linear(g, flat, *scaled), lengths[-1]


def _convolve(n: Nodes, e: Encoder, image: str, lengths: list[str] | None) -> str:
    """[B, 1, T, mels] -> [B, C, T', mels / 8]; masked before each stride where there are lengths."""

    def strided(x: str, layer: int, stage: int) -> str:
        weight = e[f"pre_encode.conv.{layer}.weight"]
        if lengths is not None:
            x = n.add("Mul", x, _image_mask(n, x, lengths[stage]))
        return n.add(
            "Conv",
            x,
            n.own_constant(weight),
            n.own_constant(e[f"pre_encode.conv.{layer}.bias"]),
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            group=1 if layer == 0 else weight.shape[0],
        )

    def pointwise(x: str, layer: int) -> str:
        names = (f"pre_encode.conv.{layer}.{part}" for part in ("weight", "bias"))
        return n.add("Conv", x, *(n.own_constant(e[name]) for name in names), kernel_shape=[1, 1])

    x = n.add("Relu", strided(image, 0, 0))
    x = n.add("Relu", pointwise(strided(x, 2, 1), 3))
    return n.add("Relu", pointwise(strided(x, 5, 2), 6))


def _image_mask(n: Nodes, image: str, lengths: str) -> str:
    """1.0 inside each piece and 0.0 after it, [B, 1, T, 1]."""
    time = n.add("Gather", n.add("Shape", image), n.constant(np.array(2, np.int64)), axis=0)
    return n.add("Unsqueeze", n.add("Unsqueeze", _inside(n, time, lengths), n.ints(1)), n.ints(3))


def _inside(n: Nodes, frames: str, lengths: str) -> str:
    """Float [B, frames]: 1.0 before each length, 0.0 from there."""
    zero, one = (n.constant(np.array(value, np.int64)) for value in (0, 1))
    steps = n.add("Range", zero, frames, one)
    inside = n.add("Less", n.add("Unsqueeze", steps, n.ints(0)), n.add("Unsqueeze", lengths, n.ints(1)))
    return n.add("Cast", inside, to=n.float_type)


# --- what all layers share ---


@dataclass(frozen=True)
class _Valid:
    convolution: str
    """1.0 for frames of the piece, [B, T', 1]."""
    keys: str
    """0 for frames of the piece and a large negative number after it, [B, 1, 1, T']."""


def _valid_frames(g: GraphWriter, frames: str, lengths: str) -> _Valid:
    count = g.add("Squeeze", frames, g.ints(0))
    inside = _inside(g, count, lengths)
    outside = g.add("Sub", g.constant(np.array(1.0, np.float32)), inside)
    keys = g.add("Mul", outside, g.constant(np.array(_MASKED, np.float32)))
    return _Valid(g.add("Unsqueeze", inside, g.ints(2)), g.add("Unsqueeze", keys, g.ints(1, 2)))


@dataclass(frozen=True)
class _Offsets:
    """Key positions relative to a query's, T' - 1 to -(T' - 1)."""

    short: str
    """Whether the tables hold all of them."""
    begin: str
    end: str
    """Where they lie in a table."""
    far: str
    """Their encodings [1, 2 T' - 1, D] where the tables do not."""
    columns: str
    """Index of each key's offset, T' - 1 - i + j for query i and key j, [B, H, T', T'] int32."""


def _offsets(g: GraphWriter, e: Encoder, frames: str, lengths: str) -> _Offsets:
    fits = g.add("LessOrEqual", frames, g.ints(TABLE_FRAMES))
    short = g.add("Reshape", fits, g.constant(np.empty(0, np.int64)))
    near, far = g.branch(), g.branch()
    unused = near.add("Identity", near.constant(np.zeros((1, 1, e.width), np.float32)))
    [encodings] = g.add_if(short, near, [unused], far, [_write_sinusoids(far, frames, e.width)])
    return _Offsets(
        short,
        begin=g.add("Sub", g.ints(TABLE_FRAMES), frames),
        end=g.add("Add", g.ints(TABLE_FRAMES - 1), frames),
        far=encodings,
        columns=_columns(g, e, frames, lengths),
    )


def _columns(g: GraphWriter, e: Encoder, frames: str, lengths: str) -> str:
    count, zero, one = (
        g.add("Cast", value, to=TensorProto.INT32)
        for value in (g.add("Squeeze", frames, g.ints(0)), *(g.constant(np.array(v)) for v in (0, 1)))
    )
    steps = g.add("Range", zero, count, one)
    keys, queries = (g.add("Unsqueeze", steps, g.ints(axis)) for axis in (0, 1))
    columns = g.add("Add", g.add("Sub", keys, queries), g.add("Sub", count, one))
    shape = g.add("Concat", g.add("Shape", lengths), g.ints(e.heads), frames, frames, axis=0)
    return g.add("Expand", columns, shape)


def _positions(g: GraphWriter, e: Encoder, name: str, offsets: _Offsets, linear: Linear) -> str:
    """A layer's projected positions [1, H, 2 T' - 1, D / H]. Taken layer by layer, they are still in the CPU's cache
    when the layer multiplies with them."""
    weight = e[f"{name}.weight"].T
    split = [1, -1, e.heads, e.width // e.heads]
    table = (sinusoids(TABLE_FRAMES, e.width) @ weight).reshape(split).transpose(0, 2, 1, 3)
    taken, projected = g.branch(), g.branch()
    sliced = taken.add("Slice", g.constant(table), offsets.begin, offsets.end, g.ints(2))
    heads = projected.add("Reshape", linear(projected, offsets.far, weight, None), g.ints(*split))
    product = projected.add("Transpose", heads, perm=[0, 2, 1, 3])
    return g.add_if(offsets.short, taken, [sliced], projected, [product])[0]


def sinusoids(frames: int, width: int) -> Floats:
    """Encodings [2 frames - 1, width] of the offsets frames - 1 to -(frames - 1): sines and cosines in turn."""
    offsets = np.arange(frames - 1, -frames, -1, dtype=np.float32)
    angles = offsets[:, None] * _rates(width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(offsets), width)


def _write_sinusoids(n: Nodes, frames: str, width: int) -> str:
    """`sinusoids` for a number of frames that is known in a call, [1, 2 frames - 1, width]."""
    scalar = n.add("Squeeze", frames, n.ints(0))
    one = n.constant(np.array(1, np.int64))
    last = n.add("Neg", scalar)
    first = n.add("Sub", scalar, one)
    offsets = n.add("Cast", n.add("Range", first, last, n.add("Neg", one)), to=TensorProto.FLOAT)
    angles = n.add("Mul", n.add("Unsqueeze", offsets, n.ints(1)), n.constant(_rates(width), exact=True))
    pairs = [n.add("Unsqueeze", n.add(wave, angles), n.ints(2)) for wave in ("Sin", "Cos")]
    encodings = n.add("Cast", n.add("Concat", *pairs, axis=2), to=n.float_type)
    return n.add("Reshape", encodings, n.ints(1, -1, width))


def _rates(width: int) -> Floats:
    """Radians per frame of each pair of encodings, [width / 2]."""
    exponents: Floats = np.arange(0, width, 2, dtype=np.float32) * np.float32(-math.log(10_000.0) / width)
    return np.exp(exponents)


# --- a layer ---


def _layer(
    g: GraphWriter, e: Encoder, name: str, x: str, offsets: _Offsets, valid: _Valid, linear: Linear
) -> str:
    def normed(part: str) -> str:
        return _norm(g, e, f"{name}.norm_{part}", x)

    x = g.add("Add", x, _feed_forward(g, e, f"{name}.feed_forward1", normed("feed_forward1"), linear))
    x = g.add("Add", x, _attend(g, e, f"{name}.self_attn", normed("self_att"), offsets, valid, linear))
    x = g.add("Add", x, _convolution(g, e, f"{name}.conv", normed("conv"), valid, linear))
    x = g.add("Add", x, _feed_forward(g, e, f"{name}.feed_forward2", normed("feed_forward2"), linear))
    return normed("out")


def _norm(g: GraphWriter, e: Encoder, name: str, x: str) -> str:
    scale, bias = g.constant(e[f"{name}.weight"]), g.constant(e[f"{name}.bias"])
    return g.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=_LAYER_NORM_EPSILON)


def _swish(g: GraphWriter, x: str) -> str:
    return g.add("QuickGelu", x, domain=CONTRIB, alpha=1.0)


def _feed_forward(g: GraphWriter, e: Encoder, name: str, x: str, linear: Linear) -> str:
    """Half of the feed-forward network's output, as its residual takes it."""
    hidden = linear(g, x, e[f"{name}.linear1.weight"].T, e.bias(f"{name}.linear1"))
    bias = e.bias(f"{name}.linear2")
    return linear(
        g, _swish(g, hidden), e[f"{name}.linear2.weight"].T * 0.5, None if bias is None else bias * 0.5
    )


def _attend(
    g: GraphWriter, e: Encoder, name: str, x: str, offsets: _Offsets, valid: _Valid, linear: Linear
) -> str:
    """Self-attention whose scores are (q + u) k' + shift((q + v) p'), divided by sqrt(D / H).

    `shift` takes for query i and key j the product with the offset i - j. u is in the bias of the queries' product.
    """
    scale = np.float32(1.0 / math.sqrt(e.width // e.heads))
    split = g.ints(0, 0, e.heads, e.width // e.heads)
    scales = {"linear_q": scale, "linear_k": np.float32(1.0), "linear_v": np.float32(1.0)}
    weight = np.concatenate([e[f"{name}.{part}.weight"].T * by for part, by in scales.items()], axis=1)
    nothing = np.zeros(e.width, np.float32)
    biases = {part: e.weights.get(f"{name}.{part}.bias", nothing) for part in scales}
    u, v = (e[f"{name}.pos_bias_{which}"] for which in ("u", "v"))
    biases["linear_q"] = biases["linear_q"] + u.reshape(-1)
    bias = np.concatenate([biases[part] * by for part, by in scales.items()])
    parts = g.add_many("Split", linear(g, x, weight, bias), outputs=3, axis=-1)

    def heads(value: str, perm: list[int]) -> str:
        return g.add("Transpose", g.add("Reshape", value, split), perm=perm)

    queries = heads(parts[0], [0, 2, 1, 3])
    by_content = g.add("MatMul", queries, heads(parts[1], [0, 2, 3, 1]))
    placed = g.add("Add", queries, g.constant((v - u)[None, :, None, :] * scale))
    positions = _positions(g, e, f"{name}.linear_pos", offsets, linear)
    by_offset = g.add("FusedMatMul", placed, positions, domain=CONTRIB, transB=1)
    by_place = g.add("GatherElements", by_offset, offsets.columns, axis=3)
    scores = g.add("Add", g.add("Add", by_content, by_place), valid.keys)
    mixed = g.add("MatMul", g.add("Softmax", scores, axis=-1), heads(parts[2], [0, 2, 1, 3]))
    joined = g.add("Reshape", g.add("Transpose", mixed, perm=[0, 2, 1, 3]), g.ints(0, 0, -1))
    return linear(g, joined, e[f"{name}.linear_out.weight"].T, e.bias(f"{name}.linear_out"))


def _convolution(g: GraphWriter, e: Encoder, name: str, x: str, valid: _Valid, linear: Linear) -> str:
    """Gated pointwise, depthwise with batch norm folded in, swish, pointwise."""
    wide = linear(g, x, e[f"{name}.pointwise_conv1.weight"][:, :, 0].T, e.bias(f"{name}.pointwise_conv1"))
    value, gate = g.add_many("Split", wide, outputs=2, axis=-1)
    gated = g.add("Mul", g.add("Mul", value, g.add("Sigmoid", gate)), valid.convolution)
    weight, bias = _with_batch_norm(e, name)
    reach = weight.shape[2] // 2
    # As an image of height 1 with its channels last: only so does ONNX Runtime convolve on a CPU in its layout of
    # channels in blocks, five times as fast, and the transpositions become part of the ways in and out of it.
    image = g.add("Transpose", g.add("Unsqueeze", gated, g.ints(1)), perm=[0, 3, 1, 2])
    deep = g.add(
        "Conv",
        image,
        g.constant(weight[:, :, None]),
        g.constant(bias),
        kernel_shape=[1, weight.shape[2]],
        pads=[0, reach, 0, reach],
        group=weight.shape[0],
    )
    rows = g.add("Squeeze", g.add("Transpose", deep, perm=[0, 2, 3, 1]), g.ints(1))
    narrow = _swish(g, rows)
    return linear(
        g, narrow, e[f"{name}.pointwise_conv2.weight"][:, :, 0].T, e.bias(f"{name}.pointwise_conv2")
    )


def _with_batch_norm(e: Encoder, name: str) -> tuple[Floats, Floats]:
    """The depthwise convolution's weight [D, 1, K] and bias [D] with the batch norm that follows folded in."""
    norm: dict[str, Any] = {
        part: e[f"{name}.batch_norm.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    factor = norm["weight"] / np.sqrt(norm["running_var"] + _BATCH_NORM_EPSILON)
    before = e.bias(f"{name}.depthwise_conv")
    bias = ((0.0 if before is None else before) - norm["running_mean"]) * factor + norm["bias"]
    weight = e[f"{name}.depthwise_conv.weight"] * factor[:, None, None]
    return weight.astype(np.float32), np.asarray(bias, np.float32)
