"""Matrix products and tables in float32 and in int8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parakeetd_convert.writer import CONTRIB, Nodes

Floats = NDArray[np.float32]


def float32_linear(nodes: Nodes, x: str, weight: Floats, bias: Floats | None) -> str:
    """x @ weight + bias in float32."""
    product = nodes.add("MatMul", x, nodes.constant(weight))
    return product if bias is None else nodes.add("Add", product, nodes.constant(bias))


def int8_linear(nodes: Nodes, x: str, weight: Floats, bias: Floats | None) -> str:
    """x @ weight + bias with int8 weights per output channel, and x quantised to uint8 as it comes.

    One fused operator: it quantises x once, multiplies in integers and scales to float32 as it writes.
    """
    quantised, scale = per_channel(weight)
    inputs = [x, nodes.constant(quantised), nodes.constant(scale)]
    if bias is not None:
        # The weights are symmetric: zero points of zero would only be subtracted.
        inputs += ["", nodes.constant(bias)]
    return nodes.add("DynamicQuantizeMatMul", *inputs, domain=CONTRIB)


def per_channel(weight: Floats, largest: int = 127) -> tuple[NDArray[np.int8], Floats]:
    """Symmetric int8 of a weight [in, out] with a scale per output: weight ~ quantised * scale[None, :]."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.float32(1e-12)) / np.float32(largest)
    quantised = np.clip(np.rint(weight / scale), -largest, largest).astype(np.int8)
    return quantised, scale.astype(np.float32)


def float32_look_up(nodes: Nodes, table: Floats, rows: str) -> str:
    """table[rows] in float32."""
    return nodes.add("Gather", nodes.constant(table), rows, axis=0)


def int8_look_up(nodes: Nodes, table: Floats, rows: str) -> str:
    """table[rows] with int8 values per row."""
    quantised, scale = per_channel(np.ascontiguousarray(table.T))
    values = nodes.add("Gather", nodes.constant(quantised.T), rows, axis=0)
    scales = nodes.add("Gather", nodes.constant(scale[:, None]), rows, axis=0)
    return nodes.add("Mul", nodes.add("Cast", values, to=nodes.float_type), scales)
