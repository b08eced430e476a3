"""Faults at random moments while people speak: no utterance is lost, and the daemon does not end.

    python tests/bench/faults.py [--seconds 1800] [--streams 8] [--seed 6] [--json FILE]

Streams at the pace of speech, with quiet spells between in which the daemon measures the machine and writes what it
found. Meanwhile, every second or two, one of these:

- the GPU's process is killed, or stopped (CPU sessions stand in for the GPU, as in `worker_faults.py`);
- the disk of the state files is full: a tmpfs of 64 KiB, mounted for this, filled to its end (as root; otherwise the
  folder is made read-only); it has room again later;
- the disk of state files and models is slow: opening, making, renaming or removing a file takes 2 s in the daemon;
- the state file is gone, or is damaged;
- the wall clock jumps, up to ten years, forwards or back (a library that is preloaded; left out without a C compiler);
- SIGHUP: the configuration and the model are loaded anew.

Exit code 1 when an utterance got no final, one was told twice or out of order, a stream did not end well, the daemon
ended before it was told to, or logged a traceback.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from faulty_machine import endure
from measuring import machine


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    where = machine()
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    made = endure(
        options.seconds,
        options.streams,
        options.seed,
        lambda line: print(line, flush=True),
    )
    print(f"the disk of state files: {made.disk}; the wall clock: {made.clock}")
    print(
        f"{sum(made.faults.values())} faults ({', '.join(f'{kind} {n}' for kind, n in sorted(made.faults.items()))})"
    )
    print(
        f"{made.streams} streams, {made.utterances} utterances, {made.other_words} with other words; "
        f"{made.children} processes for the GPU; {len(made.problems)} problems"
    )
    for problem in made.problems[:40]:
        print(f"PROBLEM: {problem}")
    if options.json:
        report = {"machine": where, "endured": asdict(made)}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(bool(made.problems))


if __name__ == "__main__":
    sys.exit(main())
