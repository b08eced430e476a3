"""What a stream costs in a cluster, and what follows for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from measuring import percentile

STREAMS: Final = 10_000
CORES: Final = 16
"""Of a machine, in the estimate."""
BUSY: Final = 0.7
"""Of a core, or of a process with one event loop: above it latencies grow."""


def summed(rounds: Sequence[dict[str, Any]], stream_seconds: float) -> dict[str, Any]:
    """Of a single daemon and a cluster in turns: percentiles over all rounds, in ms; processor time in ms for a second
    of a stream.

    Args:
        stream_seconds: in a round, of all its streams together.
    """
    told: dict[str, Any] = {}
    for name in ("daemon", "cluster"):
        latencies = [1000 * seconds for turn in rounds for seconds in turn[name]["latency"]]
        kinds = {kind for turn in rounds for kind in turn[name]["cpu"]}
        cpu = {kind: sum(turn[name]["cpu"].get(kind, 0.0) for turn in rounds) for kind in kinds}
        spoken = len(rounds) * stream_seconds
        told[name] = {
            "finals": len(latencies),
            "p50": percentile(latencies, 50),
            "p95": percentile(latencies, 95),
            "cpu_ms": {kind: 1000 * seconds / spoken for kind, seconds in cpu.items()},
        }
    told["added_ms"] = {key: told["cluster"][key] - told["daemon"][key] for key in ("p50", "p95")}
    return told


def estimate(cpu_ms: dict[str, float], idle_cores: dict[str, float], streams: int) -> dict[str, Any]:
    """What so many streams would need, by what one costs here beyond what replicas and proxies use with nothing to do.

    Assumes: processor time grows with the streams and is the same on other machines; a proxy and a replica have one
    event loop each, which may be busy for `BUSY` of the time; machines have `CORES` cores and one proxy each; the model
    runs on the CPU and is the one of this run; the controller and Ray's own processes take nothing of note.

    Args:
        cpu_ms: of proxies and replicas for a second of a stream, while there were so many `streams`.
    """
    each = {kind: (cpu_ms[kind] / 1000 - idle_cores[kind] / streams) for kind in ("proxies", "replicas")}
    proxies, replicas = (math.ceil(STREAMS * each[kind] / BUSY) for kind in ("proxies", "replicas"))
    return {
        "streams_of_a_proxy": math.floor(BUSY / each["proxies"]),
        "streams_of_a_replica": math.floor(BUSY / each["replicas"]),
        "proxies": proxies,
        "replicas": replicas,
        "cores": proxies + replicas,
        f"machines_of_{CORES}_cores": max(proxies, math.ceil((proxies + replicas) / CORES)),
    }
