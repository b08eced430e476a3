"""Writes an ONNX graph node by node, with its weights in one external data file as they come.

Weights go to disk at once, so that a graph of gigabytes takes no more memory than its largest weight. Graphs that
share weights can share their file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET: Final = 17
CONTRIB: Final = "com.microsoft"
"""ONNX Runtime's own operators."""

_IR_VERSION: Final = 8
_INLINE_BYTES: Final = 1024
"""Weights up to this size stay in the graph, where shape inference can see them."""
_ALIGNMENT: Final = 4096
"""ONNX Runtime maps external data that begins at a page, instead of copying it."""


class WeightsFile:
    """An external data file. What several graphs write to it lies there once. Close it with `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._places: dict[bytes, int] = {}

    def place(self, value: NDArray[Any]) -> int:
        """Offset of a contiguous array's bytes, in the file by the time this returns."""
        digest = hashlib.sha256(value.data).digest()
        if (known := self._places.get(digest)) is not None:
            return known
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        self._places[digest] = self._file.tell()
        self._file.write(value.data)
        return self._places[digest]

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Nodes:
    """A graph under construction, the branch of an `If` or the body of a `Loop`.

    Branches and bodies see the names of the graph around them.
    """

    def __init__(self, writer: GraphWriter, *, owns: bool = False) -> None:
        self._writer = writer
        self._owns = owns
        self.nodes: list[onnx.NodeProto] = []
        self.own: list[TensorProto] = []
        """Weights that lie in a branch itself."""

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; the output's name."""
        return self.add_many(op, *inputs, outputs=1, domain=domain, **attributes)[0]

    def add_many(self, op: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node; its outputs' names."""
        names = [self._writer.fresh(op) for _ in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=names[0], domain=domain, **attributes)
        self.nodes.append(node)
        return names

    @property
    def float_type(self) -> int:
        """ONNX's number of the type in which the graph computes: FLOAT or FLOAT16."""
        return self._writer.float_type

    def constant(self, value: NDArray[Any], *, exact: bool = False) -> str:
        """A weight; the name it can be used by, everywhere in the graph.

        Args:
            exact: keep float32 in a graph that computes in float16.
        """
        if not self._owns:
            return self._writer.constant(value, exact=exact)
        tensor = self._writer.tensor(value, exact=exact)
        self.own.append(tensor)
        return str(tensor.name)

    def own_constant(self, value: NDArray[Any]) -> str:
        """A small weight that lies in this branch: ONNX Runtime changes the layout of a convolution only when its
        weights are at hand in the same graph."""
        name = self._writer.fresh("weight")
        half = self.float_type == TensorProto.FLOAT16
        self.own.append(numpy_helper.from_array(value.astype(np.float16) if half else value, name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def branch(self) -> Nodes:
        """An empty branch for `add_if`."""
        return Nodes(self._writer, owns=self._owns)

    def body(self) -> Nodes:
        """An empty body for `add_loop`. Its weights lie in it, and so do those of its branches: ONNX Runtime prepares
        a weight for its product only in the graph that it lies in, and would do so again in every run of a loop."""
        return Nodes(self._writer, owns=True)

    def add_if(
        self, condition: str, yes: Nodes, yes_outputs: Sequence[str], no: Nodes, no_outputs: Sequence[str]
    ) -> list[str]:
        """Run one of two branches; the names of the outputs, which both must have."""
        return self.add_many(
            "If",
            condition,
            outputs=len(yes_outputs),
            then_branch=_body(yes, yes_outputs, "then"),
            else_branch=_body(no, no_outputs, "else"),
        )

    def add_loop(
        self, body: Nodes, state: Sequence[LoopState], again: str, collected: Sequence[tuple[str, int]]
    ) -> list[str]:
        """Run a body once, and again while it says so.

        Args:
            state: what is carried from one run of the body to the next.
            again: a boolean scalar of the body, true when it must run again.
            collected: values of the body and their types; of every run, in the order of the runs.

        Returns:
            Names of the last state, and of what was collected, with a first axis for the runs.
        """
        count, ignored = self._writer.fresh("run"), self._writer.fresh("again")
        inputs = [
            helper.make_tensor_value_info(count, TensorProto.INT64, []),
            helper.make_tensor_value_info(ignored, TensorProto.BOOL, []),
            *(helper.make_tensor_value_info(item.inside, item.kind, None) for item in state),
        ]
        results = [(again, TensorProto.BOOL), *((item.after, item.kind) for item in state), *collected]
        outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in results]
        graph = helper.make_graph(body.nodes, "body", inputs, outputs, body.own)
        first = self.constant(np.array(True))
        before = [item.before for item in state]
        return self.add_many("Loop", "", first, *before, outputs=len(results) - 1, body=graph)


@dataclass(frozen=True)
class LoopState:
    """A value that a `Loop` carries."""

    before: str
    """Outside, before the first run."""
    inside: str
    """What the body calls it."""
    after: str
    """What the body makes of it."""
    kind: int
    """ONNX's number of its type."""


class GraphWriter(Nodes):
    """The graph of a model file. Use it as a context manager: left without an error, `path` and its data are there."""

    def __init__(self, path: Path, *, half: bool = False, weights: WeightsFile | None = None) -> None:
        """
        Args:
            half: compute in float16; inputs and outputs stay float32.
            weights: an open file in the same folder, for weights that other graphs have too; otherwise the graph has
                a file of its own.
        """
        super().__init__(self)
        self._path = path
        self._half = half
        self._shared = weights is not None
        self._data = weights or WeightsFile(path.with_name(f"{path.name}.data"))
        self._weights: list[TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    @property
    def float_type(self) -> int:
        return int(TensorProto.FLOAT16 if self._half else TensorProto.FLOAT)

    def fresh(self, stem: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, kind: int, shape: Sequence[str | int]) -> str:
        """An input of the graph; the name of its value in the type that the graph computes in."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        narrowed = kind == TensorProto.FLOAT and self._half
        return self.add("Cast", name, to=TensorProto.FLOAT16) if narrowed else name

    def output(self, value: str, name: str, kind: int, shape: Sequence[str | int]) -> None:
        """Give a value of the graph the name of an output."""
        if kind == TensorProto.FLOAT and self._half:
            value = self.add("Cast", value, to=TensorProto.FLOAT)
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, value: NDArray[Any], *, exact: bool = False) -> str:
        tensor = self.tensor(value, exact=exact)
        self._weights.append(tensor)
        return str(tensor.name)

    def tensor(self, value: NDArray[Any], *, exact: bool) -> TensorProto:
        """A weight with a name of its own, whose values lie in the data file unless they are few."""
        name = self.fresh("weight")
        if self._half and value.dtype == np.float32 and not exact:
            value = value.astype(np.float16)
        # Not ascontiguousarray: it would make a vector of a number.
        value = value.copy(order="C") if not value.flags.c_contiguous else value
        if value.nbytes <= _INLINE_BYTES:
            return numpy_helper.from_array(value, name)
        tensor = TensorProto(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(value.dtype),
            dims=value.shape,
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": self._data.path.name, "offset": self._data.place(value), "length": value.nbytes}
        for key, item in place.items():
            tensor.external_data.add(key=key, value=str(item))
        return tensor

    def __enter__(self) -> GraphWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._shared:
            self._data.__exit__(kind, error, trace)
        if error is not None:
            return
        graph = helper.make_graph(self.nodes, self._path.stem, self._inputs, self._outputs, self._weights)
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(
            graph, opset_imports=domains, ir_version=_IR_VERSION, producer_name="parakeetd-convert"
        )
        onnx.save(model, str(self._path))


def _body(branch: Nodes, outputs: Sequence[str], name: str) -> onnx.GraphProto:
    values = [onnx.ValueInfoProto(name=output) for output in outputs]
    return helper.make_graph(branch.nodes, name, [], values, branch.own)
