"""What the exported graphs have in common: tracing, and one data file for weights too large for the graph."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parakeetd_convert.toolchain import quiet

if TYPE_CHECKING:
    import onnx

ALIGNMENT = 4096
"""Bytes; ONNX Runtime maps external tensors into memory page by page."""


def export(module: Any, path: Path, scratch: Path) -> None:
    """Trace one of NeMo's exportable modules to `path`; weights above protobuf's 2 GB go to `path` + `.data`.

    The exporter then leaves hundreds of loose files: they land in `scratch`, a folder for this graph alone.
    """
    scratch.mkdir()
    with quiet():
        module.export(str(scratch / path.name))
    gather(scratch / path.name, path)
    shutil.rmtree(scratch)


def gather(source: Path, target: Path) -> None:
    """Move a graph to `target` and the files of its external tensors into the single `target` + `.data`.

    Works file by file and removes each once it is copied: neither memory nor disk hold the weights twice.
    """
    import onnx

    model = onnx.load(source, load_external_data=False)
    external = [
        tensor for tensor in all_tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    if not external:
        source.replace(target)
        return
    with target.with_name(f"{target.name}.data").open("wb") as data:
        for tensor in external:
            place = {entry.key: entry.value for entry in tensor.external_data}
            loose = source.parent / place["location"]
            data.write(b"\0" * (-data.tell() % ALIGNMENT))
            offset = data.tell()
            with loose.open("rb") as file:
                file.seek(int(place.get("offset", 0)))
                if "length" in place:
                    data.write(file.read(int(place["length"])))
                else:
                    shutil.copyfileobj(file, data)
            loose.unlink()
            _point_to(tensor, Path(data.name).name, offset, data.tell() - offset)
    onnx.save(model, target)


def _point_to(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constants of a graph and of its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for subgraph in (attribute.g, *attribute.graphs):
                yield from all_tensors(subgraph)
