"""The prediction network and joint as graphs of our own, each with as little work as a step needs.

NeMo's `decoder_joint` runs both networks at each call and projects the encoder's frame anew. Here the frames are
projected once, the prediction network runs once per token, and the joint looks at several frames in one product:
until a token comes, the hypothesis that it looks at them with stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from parakeetd.model.bundle import Architecture
from parakeetd_convert.fastconformer import Linear
from parakeetd_convert.writer import GraphWriter, Nodes

Floats = NDArray[np.float32]

_ACTIVATIONS: Final[Mapping[str, str]] = {"ReLU": "Relu", "Tanh": "Tanh", "Sigmoid": "Sigmoid"}
"""ONNX's operators, by torch's names."""


class LookUp(Protocol):
    """Writes table[rows] in some precision."""

    def __call__(self, nodes: Nodes, table: Floats, rows: str) -> str:
        """
        Args:
            table: [rows, width].
            rows: integers [B].
        """
        ...


@dataclass(frozen=True)
class Decoder:
    """What the graphs are made from."""

    prediction: Mapping[str, Floats]
    """Weights of NeMo's prediction network, by NeMo's names."""
    joint: Mapping[str, Floats]
    """Weights of NeMo's joint, by NeMo's names."""
    output: str
    """Name of the joint's last layer."""
    activation: str
    """ONNX's operator between the sum and the last layer."""
    architecture: Architecture

    @property
    def layers(self) -> int:
        return self.architecture.prediction_layers

    @property
    def hidden(self) -> int:
        """H, the size of the prediction network's states."""
        return self.architecture.prediction_hidden

    @property
    def width(self) -> int:
        """J, the size in which the joint adds."""
        return int(self.joint["enc.weight"].shape[0])

    def gates(self, layer: int, name: str) -> Floats:
        """A weight or bias of the LSTM, [4 H, ...]: torch's gates are input, forget, cell, output; here cell is last,
        so that the three with a sigmoid lie together."""
        first, second, cell, last = np.split(self.prediction[f"dec_rnn.lstm.{name}_l{layer}"], 4)
        return np.concatenate([first, second, last, cell])

    def gate_bias(self, layer: int) -> Floats:
        """[4 H]."""
        return self.gates(layer, "bias_ih") + self.gates(layer, "bias_hh")

    @cached_property
    def token_gates(self) -> Floats:
        """What the gates of the first layer get from each token, [V + 1, 4 H]."""
        return self.prediction["embed.weight"] @ self.gates(0, "weight_ih").T + self.gate_bias(0)

    @property
    def outputs(self) -> int:
        """Tokens, blank and durations."""
        return self.architecture.vocabulary + 1 + len(self.architecture.durations)


def decoder_obstacle(model: Any) -> str:
    """What in a NeMo model's prediction network or joint the graphs are not written for; empty when nothing is."""
    import torch

    decoder, joint = model.decoder, model.joint
    if (name := type(decoder).__name__) != "RNNTDecoder":
        return f"a prediction network of class {name}"
    if (name := type(joint).__name__) != "RNNTJoint":
        return f"a joint of class {name}"
    if not decoder.blank_as_pad:
        return "blank_as_pad = False"
    lstm = getattr(decoder.prediction["dec_rnn"], "lstm", None)
    if not isinstance(lstm, torch.nn.LSTM):
        return f"a prediction network of {type(decoder.prediction['dec_rnn']).__name__}"
    if not lstm.bias or lstm.bidirectional or lstm.proj_size:
        return "an LSTM that is projected, goes both ways or has no bias"
    if decoder.is_adapter_available() or joint.is_adapter_available():
        return "adapters"
    layers = list(joint.joint_net)
    if not isinstance(layers[-1], torch.nn.Linear) or type(layers[0]).__name__ not in _ACTIVATIONS:
        return f"a joint of {' and '.join(type(layer).__name__ for layer in layers)}"
    return ""


def read_decoder(model: Any, architecture: Architecture) -> Decoder:
    """The weights and settings of a NeMo model's prediction network and joint. Shares the model's memory.

    Args:
        model: one without a `decoder_obstacle`.
    """

    def weights(module: Any) -> dict[str, Floats]:
        return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}

    layers = list(model.joint.joint_net)
    return Decoder(
        prediction=weights(model.decoder.prediction),
        joint=weights(model.joint),
        output=f"joint_net.{len(layers) - 1}",
        activation=_ACTIVATIONS[type(layers[0]).__name__],
        architecture=architecture,
    )


class DecoderParts:
    """Writes the networks into any graph, in one precision."""

    def __init__(self, decoder: Decoder, linear: Linear, look_up: LookUp, look_ahead: int) -> None:
        """
        Args:
            linear: how matrix products with weights are written.
            look_up: how a row of a table of weights is written.
            look_ahead: frames that the search in a graph looks at in one product of the joint.
        """
        self.look_ahead = look_ahead
        self._decoder = decoder
        self._linear = linear
        self._look_up = look_up

    def project(self, nodes: Nodes, encoded: str) -> str:
        """Encoder output [B, D, T] -> what the joint adds of each frame, [B, T, J]."""
        return self._product(nodes, nodes.add("Transpose", encoded, perm=[0, 2, 1]), "enc")

    def predict(
        self, nodes: Nodes, targets: str, hidden: Sequence[str], cell: Sequence[str]
    ) -> tuple[str, list[str], list[str]]:
        """The last tokens [B] and the states [B, H] of each layer -> what the joint adds of the hypothesis [B, J],
        and the new states."""
        decoder = self._decoder
        # What the first layer's gates get from a token does not depend on anything else.
        gates = nodes.add(
            "Add",
            self._look_up(nodes, decoder.token_gates, targets),
            self._linear(nodes, hidden[0], decoder.gates(0, "weight_hh").T, None),
        )
        x, memory = _cell(nodes, gates, cell[0], decoder.hidden)
        new_hidden, new_cell = [x], [memory]
        for layer in range(1, decoder.layers):
            both = nodes.add("Concat", x, hidden[layer], axis=-1)
            weight = np.concatenate([decoder.gates(layer, f"weight_{of}") for of in ("ih", "hh")], axis=1)
            gates = self._linear(nodes, both, weight.T, decoder.gate_bias(layer))
            x, memory = _cell(nodes, gates, cell[layer], decoder.hidden)
            new_hidden.append(x)
            new_cell.append(memory)
        return self._product(nodes, x, "pred"), new_hidden, new_cell

    def join(self, nodes: Nodes, frames: str, prediction: str) -> str:
        """Projected frames [B, N, J] and hypotheses [B, J] -> logits [B, N, V + 1 + durations]."""
        total = nodes.add("Add", frames, nodes.add("Unsqueeze", prediction, nodes.ints(1)))
        return self._product(nodes, nodes.add(self._decoder.activation, total), self._decoder.output)

    def _product(self, nodes: Nodes, x: str, name: str) -> str:
        weights = self._decoder.joint
        return self._linear(nodes, x, weights[f"{name}.weight"].T, weights[f"{name}.bias"])


def _cell(nodes: Nodes, gates: str, memory: str, hidden: int) -> tuple[str, str]:
    """One step of an LSTM (Hochreiter and Schmidhuber, 1997, with forget gates): the output and the new memory."""
    sigmoids, candidate = nodes.add_many("Split", gates, nodes.ints(3 * hidden, hidden), outputs=2, axis=-1)
    let_in, keep, let_out = nodes.add_many("Split", nodes.add("Sigmoid", sigmoids), outputs=3, axis=-1)
    memory = nodes.add(
        "Add", nodes.add("Mul", keep, memory), nodes.add("Mul", let_in, nodes.add("Tanh", candidate))
    )
    return nodes.add("Mul", let_out, nodes.add("Tanh", memory)), memory


def write_projection(decoder: Decoder, graph: GraphWriter, parts: DecoderParts) -> None:
    """Write `encoder_outputs` [B, D, T] -> `frames` [B, T, J]."""
    d_model = decoder.architecture.d_model
    encoded = graph.input("encoder_outputs", TensorProto.FLOAT, ["batch", d_model, "time"])
    frames = parts.project(graph, encoded)
    graph.output(frames, "frames", TensorProto.FLOAT, ["batch", "time", decoder.width])


def write_prediction(decoder: Decoder, graph: GraphWriter, parts: DecoderParts) -> None:
    """Write `targets` [B] int64, `input_states_1`, `input_states_2` [layers, B, H] -> `prediction` [B, J],
    `output_states_1`, `output_states_2`.

    The target V stands for the start of the sentence. The states are hidden, then cell.
    """
    shape: list[str | int] = [decoder.layers, "batch", decoder.hidden]
    targets = graph.input("targets", TensorProto.INT64, ["batch"])
    before = []
    for number in (1, 2):
        states = graph.input(f"input_states_{number}", TensorProto.FLOAT, shape)
        layers = graph.add_many("Split", states, outputs=decoder.layers, axis=0)
        before.append([graph.add("Squeeze", layer, graph.ints(0)) for layer in layers])
    prediction, *after = parts.predict(graph, targets, *before)
    graph.output(prediction, "prediction", TensorProto.FLOAT, ["batch", decoder.width])
    for number, states_of in enumerate(after, 1):
        stacked = graph.add("Concat", *(graph.add("Unsqueeze", s, graph.ints(0)) for s in states_of), axis=0)
        graph.output(stacked, f"output_states_{number}", TensorProto.FLOAT, shape)


def write_joint(decoder: Decoder, graph: GraphWriter, parts: DecoderParts) -> None:
    """Write `frames` [B, N, J], `prediction` [B, J] -> `logits` [B, N, V + 1 + durations]."""
    frames = graph.input("frames", TensorProto.FLOAT, ["batch", "frames", decoder.width])
    prediction = graph.input("prediction", TensorProto.FLOAT, ["batch", decoder.width])
    logits = parts.join(graph, frames, prediction)
    graph.output(logits, "logits", TensorProto.FLOAT, ["batch", "frames", decoder.outputs])
