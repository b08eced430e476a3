"""End sessions in every way that there is, and look whether anything of them is left in the daemon.

    python tests/bench/endings.py [--sessions 2000] [--seed 6] [--json FILE]

Normal ends, cancelled, disconnected and killed clients, half closes, errors in mid-stream, time-outs, empty streams,
headers without audio, streams without a configuration, refused ones, recordings. The daemon is asked what is alive in
it before and after: tasks of asyncio, threads, file descriptors, memory. Before: after as many sessions as fill its
pools, which may grow by a few threads more.

Exit code 1 when a session did not end as it should have, when the daemon logged an error, when a task, thread or
descriptor is left, or when its memory grew by 5 % or more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from measuring import machine, resident_mb
from session_endings import CONFIG, end_sessions
from watching import watched

MAX_GROWTH = 0.05
WARM_SESSIONS = 1000
"""Until pools, caches and arenas have what they keep: memory rises over the first 750."""
STEP = 250
"""Sessions after which memory is told."""
GIVEN_BACK_SECONDS = 10.0
"""A daemon that has no streams gives back memory that it does not use some seconds later."""
SETTLE_SECONDS = 60.0
"""What is left is waited for so long: a pool of threads gives them back after a while."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--warm", type=int, default=WARM_SESSIONS, help="sessions before the count begins")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    where = machine()
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    problems: list[str] = []
    memory: list[tuple[int, float]] = []
    ended: dict[str, int] = {}
    with watched(config=CONFIG) as daemon:
        asyncio.run(end_sessions(daemon.address, options.warm, options.seed + 1))
        time.sleep(GIVEN_BACK_SECONDS)
        before = daemon.alive()
        print(f"after {options.warm} sessions: {before.resident_mb:.1f} MB")
        begun, done = time.monotonic(), 0
        while done < options.sessions:
            count = min(STEP, options.sessions - done)
            found = asyncio.run(end_sessions(daemon.address, count, options.seed + done))
            done += count
            problems += found.wrong
            for kind, number in found.sessions.items():
                ended[kind] = ended.get(kind, 0) + number
            memory.append((done, resident_mb(daemon.pid)))
            print(f"{done:6} sessions, {memory[-1][1]:.1f} MB", flush=True)
        seconds = time.monotonic() - begun
        time.sleep(GIVEN_BACK_SECONDS)
        after = daemon.settled(before, SETTLE_SECONDS)
        problems += after.left_over(before)
        if (code := daemon.end()) != 0:
            problems.append(f"the daemon ended with exit code {code}")
        problems += [f"the log says: {line}" for line in daemon.errors()[:20]]
    growth = after.resident_mb / before.resident_mb - 1
    print(f"{seconds:.0f} s; " + ", ".join(f"{kind} {number}" for kind, number in sorted(ended.items())))
    print(f"memory {before.resident_mb:.1f} -> {after.resident_mb:.1f} MB, {100 * growth:+.1f} %")
    for what in ("tasks", "threads", "files"):
        print(f"{what}: {sum(getattr(before, what).values())} -> {sum(getattr(after, what).values())}")
    if growth >= MAX_GROWTH:
        problems.append(f"memory grew by {100 * growth:.1f} %, the limit is {100 * MAX_GROWTH:g} %")
    for problem in problems[:40]:
        print(f"PROBLEM: {problem}")
    if options.json:
        report = {
            "machine": where,
            "sessions": ended,
            "seconds": seconds,
            "memory": memory,
            "before": asdict(before),
            "after": asdict(after),
            "problems": problems,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
