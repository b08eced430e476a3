"""Tell a daemon under load to end: it answers what it has accepted, and is gone in time.

    python tests/bench/terminate.py [--rounds 10] [--streams 20] [--json FILE]

Streams at the pace of speech that go on talking, some that have fallen silent, one whose client does not read, one
that has said nothing, a watcher of health and recordings; then SIGTERM, at another moment in each round.

Exit code 1 when an utterance that had ended before SIGTERM has no final, when a client that talks gets another status
than OK or UNAVAILABLE, when the daemon takes 20 s or longer, ends otherwise than with 0, or logs an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from measuring import machine
from terminated import MAX_SECONDS, terminate


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    where = machine()
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    rounds = []
    for number in range(options.rounds):
        made = terminate(options.streams, after=6.0 + 0.7 * (number % 5))
        rounds.append(made)
        print(
            f"round {number + 1}: SIGTERM after {made.after:.1f} s, gone {made.seconds:.1f} s later with exit code "
            f"{made.code}; {made.utterances} utterances before it; {made.statuses}",
            flush=True,
        )
        for problem in made.problems[:20]:
            print(f"  PROBLEM: {problem}")
    longest = max(made.seconds for made in rounds)
    lost = sum(len(made.problems) for made in rounds)
    print(f"{len(rounds)} rounds, longest {longest:.1f} s (limit {MAX_SECONDS:g} s), {lost} problems")
    if options.json:
        report = {"machine": where, "rounds": [asdict(made) for made in rounds]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
