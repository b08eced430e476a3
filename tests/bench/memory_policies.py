"""Measure what ONNX Runtime keeps on the CPU of the memory that its runs took, and what keeping it would save in time.

    python tests/bench/memory_policies.py [BUNDLE] [--rounds N] [--print]

Memory: each policy (`tests/support/kept_memory.py`) in a process of its own; segments of 640 lengths,
8 utterances of 20 s at once. Time: one process in which recognizers under all policies take turns over 3, 10
and 20 s of noise; medians. Written to `results/`, unless --print. BUNDLE is the embedded one unless named.

Exit code 1 when the daemon's own policy keeps half of what others do or more: of plans for each length, of a batch
that gives nothing back; or takes 5 % more time than both of these together.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

from kept_memory import LENGTHS, POLICIES, Policy, kept_mb
from measuring import machine, results_file, write_results
from parakeetd.audio import SAMPLE_RATE
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.recognizer import Recognizer

SECONDS = (3, 10, 20)

BEFORE = "plans and blocks kept"
"""As ONNX Runtime does it when it is not told otherwise."""

TIMED: Mapping[str, Policy] = {**POLICIES, BEFORE: Policy(plans=True, most_kept=sys.maxsize)}

COMPARED = {"lengths": "plans kept", "batch": "nothing given back"}
"""What the daemon's own policy is held against, by load."""

LEAST_SAVED = 0.5
MOST_TIME = 1.05


def times(bundle: Bundle, rounds: int) -> dict[str, dict[int, float]]:
    """Median milliseconds of one utterance, by policy and by its seconds; the first run of each is not counted."""
    recognizers = {}
    for name, policy in TIMED.items():
        with policy.rules():
            recognizers[name] = Recognizer.open(bundle, device="cpu")
    noise = np.random.default_rng(1).normal(0, 0.05, SECONDS[-1] * SAMPLE_RATE).astype(np.float32)
    medians: dict[str, dict[int, float]] = {name: {} for name in TIMED}
    for seconds in SECONDS:
        taken: dict[str, list[float]] = {name: [] for name in TIMED}
        for number in range(rounds + 1):
            # Each begins as often as any other.
            names = [*TIMED][number % len(TIMED) :] + [*TIMED][: number % len(TIMED)]
            for name in names:
                with TIMED[name].rules():
                    began = time.perf_counter()
                    recognizers[name].recognize([noise[: seconds * SAMPLE_RATE]])
                    taken[name].append(1e3 * (time.perf_counter() - began))
        for name, found in taken.items():
            medians[name][seconds] = statistics.median(found[1:])
    return medians


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", default=EMBEDDED, metavar="BUNDLE")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--print", action="store_true", help="write no results, judge nothing")
    options = parser.parse_args()
    bundle, where = Bundle.read(options.bundle), machine()
    kept: dict[str, dict[str, float]] = {name: {} for name in POLICIES}
    for load, other in COMPARED.items():
        for name in ("ours", other, "no arena"):
            kept[name][load] = kept_mb(name, load, options.bundle)
            print(f"{load}: {kept[name][load]:6.1f} MB kept: {name}", flush=True)
    saved = kept[COMPARED["lengths"]]["lengths"] - kept["ours"]["lengths"]
    print(f"a plan for a length of a segment: {1e3 * saved / len(LENGTHS):.1f} KB")
    medians = times(bundle, options.rounds)
    for name, found in medians.items():
        cells = (
            f"{seconds} s in {found[seconds]:.1f} ms, {found[seconds] / medians['ours'][seconds]:.3f} x"
            for seconds in SECONDS
        )
        print(f"{name}: {'; '.join(cells)}")
    if options.print:
        return 0
    missed = [
        f"after {load}: {kept['ours'][load]:.1f} MB of {kept[other][load]:.1f}"
        for load, other in COMPARED.items()
        if kept["ours"][load] >= LEAST_SAVED * kept[other][load]
    ]
    missed += [
        f"{seconds} s: {medians['ours'][seconds]:.1f} ms of {medians[BEFORE][seconds]:.1f}"
        for seconds in SECONDS
        if medians["ours"][seconds] > MOST_TIME * medians[BEFORE][seconds]
    ]
    print(*(f"MISSED: {miss}" for miss in missed), sep="\n")
    results = {"machine": where, "model": bundle.name, "kept_mb": kept, "milliseconds": medians}
    kind = f"memory-policies-{bundle.name}"
    print(write_results(results_file(kind, where, datetime.date.today()), results))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
