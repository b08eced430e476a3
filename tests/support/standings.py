"""What engines took on the same audio, and whether ours is as far ahead as it must be."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PRECISIONS = ("int8", "fp32")
OURS = "ours"
STAGES = ("features", "encoder", "decode")


@dataclass
class Measured:
    """One engine in one precision."""

    engine: str
    precision: str
    is_peer: bool
    load_seconds: float
    versions: Mapping[str, str]
    resident_mb: float = 0.0
    """After the last run."""
    idle_share: float = 0.0
    """Of a core, while others computed."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By length of audio."""
    stages: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Seconds by length and stage; ours only."""
    tokens_per_second: float = 0.0
    texts: list[str] = field(default_factory=list)
    """Of each piece, of all lengths."""

    def median(self, length: str) -> float:
        return statistics.median(self.seconds[length])

    def share(self, length: str, stage: str) -> float:
        """Of our time; medians of each stage over the sum of these medians."""
        medians = {name: statistics.median(values) for name, values in self.stages[length].items()}
        return medians[stage] / sum(medians.values())


@dataclass(frozen=True)
class Bar:
    """What must hold."""

    text: str
    held: bool


def bars(measured: Sequence[Measured]) -> list[Bar]:
    """Ours against the fastest peer of the same precision at each length, and the shares of our time in int8."""
    found = []
    for precision in PRECISIONS:
        ours = next((row for row in measured if row.engine == OURS and row.precision == precision), None)
        peers = [row for row in measured if row.is_peer and row.precision == precision]
        if ours is None:
            continue
        for length in ours.seconds if peers else ():
            fastest = min(peers, key=lambda row: row.median(length))
            ratio = fastest.median(length) / ours.median(length)
            needed = 1.15 if precision == "fp32" else 1.4 if float(length) <= 3 else 1.6
            text = f"{precision}, {length} s: {ratio:.2f} x as fast as {fastest.engine}, at least {needed:g} x wanted"
            found.append(Bar(text, ratio >= needed))
        for length in ours.stages if precision == "int8" else ():
            for stage, allowed in (("decode", 0.08), ("features", 0.03)):
                share = ours.share(length, stage)
                text = f"int8, {length} s: {stage} {100 * share:.1f} % of the time, at most {100 * allowed:g} % wanted"
                found.append(Bar(text, share <= allowed))
    return found


ONE, MANY, RTFX = 3.0, 10.0, 3000.0
"""On a GPU: at least so many times as fast as onnx-asr at one utterance and in batches, and RTFx with batches."""


def gpu_bars(figures: Mapping[str, Any], batch: int) -> list[Bar]:
    """What must hold on a GPU, of what was measured there.

    Args:
        figures: `{"peer": {"cuda": {BATCH: {"ratio"}}}, "rtfx": {"cuda PRECISION": {BATCH: RTFx}}}`.
        batch: the size at which batches are compared with onnx-asr's.
    """
    found = []
    peer = figures.get("peer", {}).get("cuda", {})
    for size, needed in ((1, ONE), (batch, MANY)):
        if str(size) in peer:
            ratio = peer[str(size)]["ratio"]
            text = f"{ratio:.2f} x as fast as onnx-asr on CUDA, batch of {size}, at least {needed:g} x wanted"
            found.append(Bar(text, ratio >= needed))
    speeds = [
        max(values.values()) for name, values in figures.get("rtfx", {}).items() if name.startswith("cuda")
    ]
    if speeds:
        found.append(Bar(f"RTFx {max(speeds):.0f} with batches, over {RTFX:g} wanted", max(speeds) > RTFX))
    return found
