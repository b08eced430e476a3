"""What engines took on the same audio, and whether ours is as far ahead as it must be."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
