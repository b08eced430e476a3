"""The log-mel front end as an ONNX graph: waveform in, what NeMo's preprocessor gives out.

The formulas are those of NeMo's `FilterbankFeatures.forward` in evaluation mode with `pad_to` 0; window,
filterbank and settings are taken from the loaded model, never from a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parakeetd_convert.errors import UnsupportedModel

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8

STD_CONSTANT = 1e-5
"""What NeMo adds to each standard deviation (`CONSTANT` beside `normalize_batch`)."""


@dataclass(frozen=True)
class FrontEnd:
    """The settings of a log-mel front end, read from a model."""

    window: NDArray[np.float32]
    """Analysis window, shape [win_length]."""
    filterbank: NDArray[np.float32]
    """Mel filterbank, shape [mels, n_fft // 2 + 1]."""
    n_fft: int
    hop: int
    """Samples from one frame to the next."""
    preemphasis: float
    guard: float
    """Kept out of the logarithm's zero."""
    guard_adds: bool
    """The guard is added to the energy; otherwise it is the least energy."""
    normalize: bool
    """Subtract each mel's mean over the clip and divide by its unbiased standard deviation."""

    @property
    def mels(self) -> int:
        return int(self.filterbank.shape[0])


def read_front_end(preprocessor: Any) -> FrontEnd:
    """Settings of a loaded `AudioToMelSpectrogramPreprocessor`.

    Raises:
        UnsupportedModel: a setting that this graph does not reproduce; the message names it.
    """
    features = getattr(preprocessor, "featurizer", None)
    if features is None or not hasattr(features, "fb"):
        raise UnsupportedModel(f"its preprocessor is a {type(preprocessor).__name__}, not a log-mel one")
    expected = {"exact_pad": False, "frame_splicing": 1, "log": True, "mag_power": 2.0, "pad_value": 0}
    for name, value in expected.items():
        if getattr(features, name) != value:
            raise UnsupportedModel(
                f"its preprocessor has {name}={getattr(features, name)!r}, only {value!r} is read"
            )
    if features.normalize not in ("per_feature", None, "NA"):
        raise UnsupportedModel(
            f"its preprocessor has normalize={features.normalize!r}, only per_feature is read"
        )
    if features.window is None:
        raise UnsupportedModel("its preprocessor has no window")
    filterbank = features.fb.squeeze(0).double()
    return FrontEnd(
        window=features.window.float().numpy(),
        filterbank=filterbank.float().numpy(),
        n_fft=int(features.n_fft),
        hop=int(features.hop_length),
        preemphasis=float(features.preemph or 0.0),
        guard=float(features.log_zero_guard_value_fn(filterbank.float())),
        guard_adds=features.log_zero_guard_type == "add",
        normalize=features.normalize == "per_feature",
    )


def write_front_end(path: Path, front_end: FrontEnd) -> None:
    """Write the graph `waveforms` [B, N] float32, `waveforms_lens` [B] int64 -> `features` [B, mels, T]
    float32, `features_lens` [B] int64.

    T is N // hop + 1 as in NeMo; frames from `features_lens` (a clip's samples // hop) on are zero.
    """
    import onnx

    onnx.save(build_front_end(front_end), path)


def build_front_end(front_end: FrontEnd) -> onnx.ModelProto:
    """The graph that `write_front_end` writes."""
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    lengths = graph.add("Unsqueeze", "waveforms_lens", graph.ints(1))
    emphasised = _preemphasis(graph, "waveforms", lengths, front_end.preemphasis)
    log_mel = _log_mel(graph, emphasised, front_end)
    graph.add("Div", "waveforms_lens", graph.int_scalar(front_end.hop), output="features_lens")
    frames = _count(graph, log_mel, axis=2)
    valid = graph.add("Less", frames, graph.add("Unsqueeze", "features_lens", graph.ints(1)))
    valid = graph.add("Unsqueeze", valid, graph.ints(1))  # [B, 1, T]
    zero = graph.float_scalar(0.0)
    if front_end.normalize:
        log_mel = _normalise(graph, log_mel, valid, zero)
    graph.add("Where", valid, log_mel, zero, output="features")

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "log_mel",
            [
                helper.make_tensor_value_info("waveforms", TensorProto.FLOAT, ["batch", "samples"]),
                helper.make_tensor_value_info("waveforms_lens", TensorProto.INT64, ["batch"]),
            ],
            [
                helper.make_tensor_value_info(
                    "features", TensorProto.FLOAT, ["batch", front_end.mels, "frames"]
                ),
                helper.make_tensor_value_info("features_lens", TensorProto.INT64, ["batch"]),
            ],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="parakeetd-convert",
    )
    checker.check_model(model, full_check=True)
    return model


def _preemphasis(graph: _Graph, waveforms: str, lengths: str, factor: float) -> str:
    """x[n] - factor x[n-1], the first sample unchanged, zero from each clip's length on."""
    if factor:
        before = graph.add("Pad", waveforms, graph.ints(0, 1, 0, -1))
        waveforms = graph.add("Sub", waveforms, graph.add("Mul", before, graph.float_scalar(factor)))
    inside = graph.add("Less", _count(graph, waveforms, axis=1), lengths)
    return graph.add("Where", inside, waveforms, graph.float_scalar(0.0))


def _log_mel(graph: _Graph, waveforms: str, front_end: FrontEnd) -> str:
    """[B, N] -> log-mel energies [B, mels, T]."""
    frames, size = _frames(graph, waveforms, front_end)
    heard = front_end.filterbank.any(axis=0)
    bins = np.flatnonzero(heard).astype(np.float64)
    power = _power(graph, frames, size, 2 * np.pi / front_end.n_fft * bins)
    energies = graph.add("MatMul", power, graph.floats(front_end.filterbank[:, heard].T))
    guarded = graph.add(
        "Add" if front_end.guard_adds else "Max", energies, graph.float_scalar(front_end.guard)
    )
    return graph.add("Transpose", graph.add("Log", guarded), perm=[0, 2, 1])


def _frames(graph: _Graph, waveforms: str, front_end: FrontEnd) -> tuple[str, int]:
    """[B, N] -> windowed frames [B, N // hop + 1, size], zero beyond both ends, and their size, which is even.

    torch.stft centres the window in n_fft samples and pads the waveform by n_fft // 2 on both sides. Only the window's
    own samples count, so the frames are as long as the window and the padding is that much less.
    """
    hop = front_end.hop
    offset = (front_end.n_fft - front_end.window.size) // 2
    padding = front_end.n_fft // 2 - offset
    window = np.pad(front_end.window, (0, front_end.window.size % 2))
    # A frame is made of whole rows of `hop` samples and the beginning of one.
    rows = -(-window.size // hop)
    samples = graph.add("Gather", graph.add("Shape", waveforms), graph.ints(1))
    count = graph.add("Add", graph.add("Div", samples, graph.ints(hop)), graph.ints(1))
    whole = graph.add("Mul", graph.add("Add", count, graph.ints(rows - 1)), graph.ints(hop))
    # Below zero where the last row ends within the waveform: then the padding cuts.
    tail = graph.add("Sub", whole, graph.add("Add", samples, graph.ints(padding)))
    padded = graph.add("Pad", waveforms, graph.add("Concat", graph.ints(0, padding, 0), tail, axis=0))
    lines = graph.add("Reshape", padded, graph.ints(0, -1, hop))
    parts = []
    for row in range(rows):
        end = graph.add("Add", count, graph.ints(row))
        part = graph.add("Slice", lines, graph.ints(row), end, graph.ints(1))
        if (length := min(hop, window.size - row * hop)) < hop:
            part = graph.add("Slice", part, graph.ints(0), graph.ints(length), graph.ints(2))
        parts.append(part)
    return graph.add("Mul", graph.add("Concat", *parts, axis=2), graph.floats(window)), window.size


def _power(graph: _Graph, frames: str, size: int, frequencies: NDArray[np.float64]) -> str:
    """[B, T, size] -> power at these frequencies (radians a sample), [B, T, len(frequencies)].

    A frame is the sum of a part that is even about its middle and one that is odd. Counted from the middle, which
    changes phases and no power, the even part has cosines only and the odd one sines only, and half of each says all:
    half the products that whole frames take.
    """
    half = size // 2
    after = graph.add("Slice", frames, graph.ints(half), graph.ints(size), graph.ints(2))
    before = graph.add(
        "Slice", frames, graph.ints(half - 1), graph.ints(-size - 1), graph.ints(2), graph.ints(-1)
    )
    angle = np.outer(np.arange(half) + 0.5, frequencies)
    even = graph.add("MatMul", graph.add("Add", after, before), graph.floats(np.cos(angle)))
    odd = graph.add("MatMul", graph.add("Sub", after, before), graph.floats(np.sin(angle)))
    return graph.add("Add", graph.add("Mul", even, even), graph.add("Mul", odd, odd))


def _normalise(graph: _Graph, log_mel: str, valid: str, zero: str) -> str:
    """Each mel to zero mean and unit unbiased deviation over the valid frames."""
    # Deviations do not depend on an offset. Taken from the first frame, a constant mel (digital silence) is
    # exactly 0; with the log of the guard, -16.6, in the sums, their rounding alone reaches 0.4 after the
    # division by 1e-5 (NeMo's reaches 0.2: on digital silence the two differ, and neither means anything).
    log_mel = graph.add(
        "Sub", log_mel, graph.add("Slice", log_mel, graph.ints(0), graph.ints(1), graph.ints(2))
    )
    one = graph.float_scalar(1.0)
    total = graph.add("ReduceSum", graph.add("Cast", valid, to=1), graph.ints(2), keepdims=1)
    # NeMo divides by zero for a clip without frames and masks the result: nothing valid depends on this floor.
    # For a clip of one frame its deviation is 0/0, which it replaces with 0; 0/1 gives the same.
    mean = graph.add("Div", _masked_sum(graph, log_mel, valid, zero), graph.add("Max", total, one))
    centred = graph.add("Sub", log_mel, mean)
    squares = _masked_sum(graph, graph.add("Mul", centred, centred), valid, zero)
    deviation = graph.add(
        "Sqrt", graph.add("Div", squares, graph.add("Max", graph.add("Sub", total, one), one))
    )
    return graph.add("Div", centred, graph.add("Add", deviation, graph.float_scalar(STD_CONSTANT)))


def _masked_sum(graph: _Graph, values: str, valid: str, zero: str) -> str:
    return graph.add("ReduceSum", graph.add("Where", valid, values, zero), graph.ints(2), keepdims=1)


def _count(graph: _Graph, tensor: str, axis: int) -> str:
    """0, 1, ... along an axis of a tensor, int64."""
    size = graph.add("Gather", graph.add("Shape", tensor), graph.int_scalar(axis))
    return graph.add("Range", graph.int_scalar(0), size, graph.int_scalar(1))


class _Graph:
    """Collects nodes and constants; `add` gives the name of a node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: int | list[int]) -> str:
        from onnx import helper

        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def floats(self, values: NDArray[Any]) -> str:
        return self._constant(values.astype(np.float32))

    def float_scalar(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def int_scalar(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def _constant(self, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self.initializers)}"
            self.initializers.append(numpy_helper.from_array(values, self._constants[key]))
        return self._constants[key]
