"""Which files an ONNX graph reads its weights from, found without opening the graph.

ONNX Runtime reads the files that a graph names as it opens it, wherever they are (CVE-2024-27318): so they are
looked up beforehand. A reader of protobuf's wire format for the few messages of ONNX that lead to a tensor.
Field numbers: onnx.proto3 of ONNX; wire format: protobuf's "Encoding" page.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

_KEY = b"location"

_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {13: "entry"},
    "entry": {1: "key", 2: "value"},
}
"""Message by field number inside each message; every other field is skipped."""

_MAX_DEPTH = 100
"""Messages inside one another: protobuf's own limit."""


def external_locations(graph: Path) -> set[str]:
    """The `location` of every tensor of an `.onnx` file that keeps its values in another file.

    Raises:
        ValueError: the file is not a protobuf message that can be walked.
        OSError: it cannot be read.
    """
    with graph.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise ValueError("it is empty") from None
        with content:
            # Strings lie in the file as they are: without the key there is nothing to walk for.
            if content.find(_KEY) < 0:
                return set()
            with memoryview(content) as view:
                return {value.decode("utf-8", "backslashreplace") for value in _locations(view)}


def _locations(view: memoryview) -> Iterator[bytes]:
    pending = [("model", 0, len(view), 0)]
    while pending:
        kind, start, end, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"its messages are nested more than {_MAX_DEPTH} deep")
        keys, values = [], []
        for field, first, last in _strings(view, start, end):
            inner = _FIELDS[kind].get(field)
            if inner == "key":
                keys.append(bytes(view[first:last]))
            elif inner == "value":
                values.append(bytes(view[first:last]))
            elif inner is not None:
                pending.append((inner, first, last, depth + 1))
        # Of a field given twice the last one counts; all are told, so that nobody depends on which.
        if _KEY in keys:
            yield from values


def _strings(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number, begin and end of every length-delimited field of the message in view[at:end]."""
    while at < end:
        tag, at = _varint(view, at, end)
        field, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            _, at = _varint(view, at, end)
        elif wire_type == 1:
            at += 8
        elif wire_type == 5:
            at += 4
        elif wire_type == 2:
            length, at = _varint(view, at, end)
            if length > end - at:
                raise ValueError("a field runs past its message")
            yield field, at, at + length
            at += length
        else:
            raise ValueError(f"wire type {wire_type} is not used in ONNX")
    if at != end:
        raise ValueError("a field runs past its message")


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number does not end")
