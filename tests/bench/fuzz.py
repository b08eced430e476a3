"""Feed everything that reads what others wrote with damaged input: messages, audio files, configurations, bundles.

    python tests/bench/fuzz.py [--cases 20000] [--seed 6] [--only TARGET] [--guided SECONDS] [--json FILE]

The cases of a seed are always the same. Parsers get theirs in a process each, so that one that crashes or hangs is
known by its number; `wire` sends damaged messages and connections to `parakeetd serve`. `--guided` then lets Atheris, a
coverage-guided fuzzer, look at each parser for so many seconds (its environment: `make .venv-fuzz/.ready`).

One case again: `--only TARGET --first N --cases 1`. Exit code 1 when anything crashed, hung, raised or answered what is
not meant for damaged input, or when memory did not come back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import speech_servers
from fuzz_targets import TARGETS
from fuzz_wire import SAID, send_damaged, text_of_a_clip
from measuring import ROOT, machine, resident_mb

WIRE = "wire"
SHARES = {
    WIRE: 5000,
    "streams": 3500,
    "files": 2000,
    "configs": 2500,
    "commands": 800,
    "profanity": 400,
    "calibrations": 1000,
    "manifests": 1800,
    "graphs": 800,
    "tokens": 600,
    "messages": 1400,
    "bundles": 200,
}
"""Of 20,000 cases."""

GROWTH, SLACK_MB = 0.05, 4.0
"""Memory is back when it is within this share, or within this, of what it was when all was warm."""

WARM_CASES = 2000
"""Damaged messages for a new daemon before its memory is read."""

WORKER = ROOT / "tests/support/fuzz_worker.py"
GUIDED = ROOT / "tests/bench/fuzz_guided.py"


@dataclass
class Outcome:
    """Of one target."""

    target: str
    cases: int = 0
    seconds: float = 0.0
    taken: int = 0
    """Input that was good enough to be used."""
    problems: list[str] = field(default_factory=list)
    mb_before: float = 0.0
    mb_after: float = 0.0
    codes: dict[str, int] = field(default_factory=dict)

    def judge_memory(self) -> None:
        if self.mb_after > max(self.mb_before * (1 + GROWTH), self.mb_before + SLACK_MB):
            self.problems.append(f"memory went from {self.mb_before:.0f} to {self.mb_after:.0f} MB")

    def row(self) -> str:
        return (
            f"{self.target:14}{self.cases:7} cases{self.taken:7} taken{self.seconds:8.1f} s"
            f"{self.mb_before:7.0f} MB ->{self.mb_after:5.0f} MB{len(self.problems):5} problems"
        )


def feed(name: str, first: int, last: int, seed: int) -> Outcome:
    """Run the cases of a parser. After one that ended the process the next process goes on."""
    outcome, begun = Outcome(name), time.monotonic()
    with tempfile.NamedTemporaryFile() as progress:
        progress.write(bytes(8))
        progress.flush()
        while first < last:
            command = [sys.executable, str(WORKER), name, str(first), str(last), str(seed), progress.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found = json.loads(done.stdout)
                outcome.cases += found["cases"]
                outcome.taken += found["taken"]
                outcome.problems += [f"case {number}: {error}" for number, error in found["errors"]]
                outcome.mb_before, outcome.mb_after = found["mb_before"], found["mb_after"]
                break
            [at] = struct.unpack("<q", Path(progress.name).read_bytes()[:8])
            why = "hung" if "Timeout" in done.stderr else f"ended the process with {done.returncode}"
            outcome.problems.append(f"case {at} {why}: {done.stderr[-1500:]}")
            outcome.cases += at + 1 - first
            first = at + 1
    outcome.seconds = time.monotonic() - begun
    outcome.judge_memory()
    return outcome


def send(first: int, last: int, seed: int) -> Outcome:
    """Send damaged messages to a daemon."""
    outcome, begun = Outcome(WIRE), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="parakeetd-fuzz-") as home,
        speech_servers.daemon(sys.executable, ["--model", "demo"], home) as (address, pid),
    ):
        # The pools of a server that is new grow for some time; these cases count for nothing else.
        asyncio.run(send_damaged(address, range(WARM_CASES), seed + 1))
        outcome.mb_before = resident_mb(pid)
        answered = asyncio.run(send_damaged(address, range(first, last), seed))
        outcome.cases, outcome.codes = answered.cases, answered.codes
        outcome.problems += [f"case {number}: {error}" for number, error in answered.errors]
        text = asyncio.run(text_of_a_clip(address))
        if text != SAID:
            outcome.problems.append(f"afterwards a clip was {text!r}")
        outcome.mb_after = resident_mb(pid)
        outcome.taken = outcome.codes.get("OK", 0)
    outcome.seconds = time.monotonic() - begun
    outcome.judge_memory()
    return outcome


def guide(name: str, seconds: int, seed: int, python: Path, keep: Path) -> Outcome:
    """Let Atheris look at one target."""
    outcome, begun = Outcome(f"{name}, guided"), time.monotonic()
    command = [str(python), str(GUIDED), name, str(seconds), str(keep / name), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    outcome.seconds = time.monotonic() - begun
    if runs := re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr):
        outcome.cases = int(runs[1])
    if added := re.search(r"stat::new_units_added:\s*(\d+)", done.stderr):
        outcome.taken = int(added[1])
    if done.returncode:
        outcome.problems.append(f"ended with {done.returncode}: {done.stderr[-3000:]}")
    return outcome


def shares(cases: int, only: str | None) -> Iterator[tuple[str, int]]:
    """How many cases each target gets."""
    if only is not None:
        yield only, cases
        return
    whole = sum(SHARES.values())
    for name, share in SHARES.items():
        yield name, max(1, round(cases * share / whole))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [WIRE, *(target.name for target in TARGETS)]
    parser.add_argument("--cases", type=int, default=20_000, help="over all targets (default: 20000)")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--only", choices=names, metavar="TARGET", help=", ".join(names))
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--guided", type=int, default=0, metavar="SECONDS", help="of Atheris on each parser")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for what Atheris finds")
    parser.add_argument(
        "--python", type=Path, default=ROOT / ".venv-fuzz/bin/python", help="that has Atheris"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    where = machine()
    print(", ".join(f"{key} {value}" for key, value in where.items()), f"seed {options.seed}", sep=", ")
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print(outcome.row(), flush=True)
        for problem in outcome.problems[:20]:
            print(f"  {problem}", flush=True)

    for name, cases in shares(options.cases, options.only) if options.cases else ():
        first, last = options.first, options.first + cases
        tell(send(first, last, options.seed) if name == WIRE else feed(name, first, last, options.seed))
    if options.guided:
        with tempfile.TemporaryDirectory(prefix="parakeetd-fuzz-") as folder:
            for name in [options.only] if options.only else [t.name for t in TARGETS if t.name != "bundles"]:
                tell(guide(name, options.guided, options.seed, options.python, options.keep or Path(folder)))
    problems = sum(len(outcome.problems) for outcome in outcomes)
    counted = sum(outcome.cases for outcome in outcomes)
    print(f"{counted} cases, {problems} problems")
    if options.json:
        report = {
            "machine": where | {"load after": f"{os.getloadavg()[0]:.1f}"},
            "seed": options.seed,
            "outcomes": [asdict(outcome) for outcome in outcomes],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
