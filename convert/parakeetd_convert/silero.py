"""Silero VAD's graph, written so that it is computed faster: `python -m parakeetd_convert.silero SOURCE TARGET`.

Its convolutions go over four frames at most. ONNX Runtime computes them window by window, as products with four
columns. Here the frames that a kernel sees lie side by side, so that each convolution is one product over all windows:
the same weights and sums, less than half the time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET: Final = 16
IR_VERSION: Final = 8
HOP, SAMPLES, PADDED = 128, 576, 640
"""Of the spectrum's frames; of a window with its context; of that, mirrored at its end to five hops."""
STATE: Final = [1, 1, 128]
LSTM: Final = ("onnx::LSTM_209", "onnx::LSTM_210", "onnx::LSTM_211")
"""The recurrent layer's weights, as the source calls them: of its input, of its state, biases."""

Weights = Mapping[str, NDArray[np.float32]]


class _Graph:
    """Nodes that are called after their outputs, and weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def weight(self, name: str, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def part(self, name: str, of: str, first: int, end: int, *, axis: int, step: int = 1) -> str:
        numbers = {"first": first, "end": end, "axis": axis, "step": step}
        return self.add(
            name,
            "Slice",
            of,
            *(self.weight(f"{name}.{key}", np.array([n], np.int64)) for key, n in numbers.items()),
        )

    def shaped(self, name: str, of: str, *shape: int) -> str:
        return self.add(name, "Reshape", of, self.weight(f"{name}.shape", np.array(shape, np.int64)))

    def side_by_side(self, name: str, of: str, taps: int, frames: int, *, stride: int = 1) -> str:
        """From [n, time, channels] what a kernel sees at each of `frames` places: [n, frames, taps * channels]."""
        span = stride * (frames - 1) + 1
        parts = [self.part(f"{name}.{tap}", of, tap, tap + span, axis=1, step=stride) for tap in range(taps)]
        return self.add(name, "Concat", *parts, axis=2)

    def quiet_around(self, name: str, of: str) -> str:
        """With a frame of zeros before the first and after the last."""
        return self.add(name, "Pad", of, self.weight(f"{name}.pads", np.array([0, 1, 0, 0, 1, 0], np.int64)))

    def layer(self, name: str, of: str, weights: Weights, taps: Sequence[int]) -> str:
        """A convolution over what `side_by_side` gives, and its rectifier; the kernel's other taps would see zeros."""
        kernel = weights[f"{name}.weight"]
        product = np.concatenate([kernel[:, :, tap].T for tap in taps])
        summed = self.add(f"{name}.product", "MatMul", of, self.weight(f"{name}.weight", product))
        biased = self.add(f"{name}.sum", "Add", summed, self.weight(f"{name}.bias", weights[f"{name}.bias"]))
        return self.add(name, "Relu", biased)


def rewritten(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with the same inputs and outputs.

    Raises:
        KeyError: the source is another one.
    """
    weights = {item.name: numpy_helper.to_array(item) for item in source.graph.initializer}
    graph = _Graph()
    encoded = _encoder(graph, _spectrum(graph, weights), weights)
    # Windows are the steps of the recurrent layer.
    steps = graph.shaped("steps", encoded, -1, 1, STATE[-1])
    for name in LSTM:
        graph.weight(name, weights[name])
    recurrent = helper.make_node(
        "LSTM", [steps, *LSTM, "", "h", "c"], ["recurrent", "hn", "cn"], hidden_size=STATE[-1]
    )
    graph.nodes.append(recurrent)
    heard = graph.shaped("heard", graph.add("rectified", "Relu", "recurrent"), -1, STATE[-1])
    product = graph.add("output", "MatMul", heard, graph.weight("output.weight", weights["output.weight"][0]))
    biased = graph.add("logit", "Add", product, graph.weight("output.bias", weights["output.bias"]))
    graph.shaped("speech_probs", graph.add("probability", "Sigmoid", biased), -1)

    def value(name: str, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    made = helper.make_graph(
        graph.nodes,
        "silero_vad",
        [value("input", "windows", SAMPLES), value("h", *STATE), value("c", *STATE)],
        [value("speech_probs", "windows"), value("hn", *STATE), value("cn", *STATE)],
        graph.weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _spectrum(graph: _Graph, weights: Weights) -> str:
    """Magnitudes [n, 4, bins] of the windows."""
    basis = weights["stft.forward_basis_buffer"][:, 0].T
    bins = basis.shape[1] // 2
    pads = graph.weight("mirrored.pads", np.array([0, 0, 0, PADDED - SAMPLES], np.int64))
    mirrored = graph.add("mirrored", "Pad", "input", pads, mode="reflect")
    hops = graph.shaped("hops", mirrored, -1, PADDED // HOP, HOP)
    frames = graph.side_by_side("frames", hops, taps=2, frames=4)
    both = graph.add("spectrum", "MatMul", frames, graph.weight("basis", basis))
    squares = []
    for part, first in (("real", 0), ("imaginary", bins)):
        name = graph.part(part, both, first, first + bins, axis=2)
        squares.append(graph.add(f"{part}.squared", "Mul", name, name))
    return graph.add("magnitude", "Sqrt", graph.add("power", "Add", *squares))


def _encoder(graph: _Graph, magnitude: str, weights: Weights) -> str:
    """[n, 128]: four, two, one and one frames, by strides of 1, 2, 2 and 1."""
    first = graph.side_by_side("seen.0", graph.quiet_around("around.0", magnitude), taps=3, frames=4)
    first = graph.layer("encoder.0", first, weights, (0, 1, 2))
    second = graph.side_by_side("seen.1", graph.quiet_around("around.1", first), taps=3, frames=2, stride=2)
    second = graph.layer("encoder.1", second, weights, (0, 1, 2))
    both = graph.shaped("seen.2", second, -1, 2 * weights["encoder.1.bias"].size)
    third = graph.layer("encoder.2", both, weights, (1, 2))
    return graph.layer("encoder.3", third, weights, (1,))


if __name__ == "__main__":
    source_path, target_path = map(Path, sys.argv[1:])
    onnx.save(rewritten(onnx.load(source_path)), target_path)
