"""What befalls the GPU's process does not befall a stream: it is killed, stopped and left without memory at random
moments, while streams are recognised; every final must be what it is without faults, once, in order.

    python tests/bench/worker_faults.py [--rounds 200] [--streams 8] [--json FILE]

On a machine without a GPU, CPU sessions stand in for it, in the same process (`tests/support/stand_in_child.py`), and a
process that hangs is given up after 1.5 s instead of 10 s. With `--gpu` the GPU is real; a lack of memory is not made
there. Exits with 1 when a final is missing, twice, out of order or another one, or when faults met nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import grpc

import stand_in_child
from gpu_worker import Served, serving
from live_load import listen
from measuring import machine, write_results
from parakeetd.model.bundle import EMBEDDED
from speech_load import Track, make_track, shipped_pieces

FAULTS = {
    "killed": signal.SIGKILL,
    "stopped": signal.SIGSTOP,
    "out of memory": stand_in_child.MEMORY_SIGNAL,
}
AT_WORK = 0.75
"""Share of the faults that wait until the process is at work."""

BACK_SECONDS = 60.0
"""A process that was to be replaced and is not by then never will be."""

Finals = list[tuple[str, float]]
"""Text, and seconds of audio at which it was told."""


@dataclass
class Tally:
    faults: Counter[str] = field(default_factory=Counter)
    at_work: int = 0
    """Faults that met a process which had opened the model."""
    processes: set[int] = field(default_factory=set)
    finals: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds that a stream took longer than its audio."""
    done: bool = False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="faults")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--pace", type=float, default=2.0, help="times the speed of speech")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpu", action="store_true", help="the GPU is real")
    parser.add_argument("--log", action="store_true", help="print what the daemon said at the end")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    track = make_track(shipped_pieces(EMBEDDED.parent / "clips"), 20.0, (0.8, 1.2))
    begun = time.monotonic()
    # All segments go to the GPU as long as it is there.
    with serving(kind=None if options.gpu else "model", device="threshold_seconds = 0.0") as served:
        tally = asyncio.run(measure(served, track, options))
        tracebacks = served.said("Traceback")
    by_kind = ", ".join(f"{count} x {kind}" for kind, count in tally.faults.items())
    print(f"{sum(tally.faults.values())} faults: {by_kind}; {tally.at_work} of them met a process at work")
    print(
        f"{len(tally.processes)} processes were there; the device failed {len(served.said('device cuda failed'))} times"
    )
    print(f"{tally.finals} finals from {options.streams} streams, {len(tally.wrong)} streams differ")
    print(
        f"a stream ended at most {tally.slowest:.1f} s after its audio; {time.monotonic() - begun:.0f} s in all"
    )
    for line in tally.wrong[:10]:
        print(f"  {line}")
    if options.log:
        for at, line in served.log:
            print(f"{at - begun:8.2f} {line}")
    failed = bool(tally.wrong or tracebacks) or sum(tally.faults.values()) < options.rounds
    # Every kill brings a new process.
    failed |= len(tally.processes) <= tally.faults["killed"]
    if options.json:
        figures = {
            "date": f"{datetime.date.today()}",
            "machine": machine(),
            "faults": dict(tally.faults),
            "at_work": tally.at_work,
            "processes": len(tally.processes),
            "streams": options.streams,
            "finals": tally.finals,
            "wrong": tally.wrong,
            "slowest_seconds": round(tally.slowest, 2),
            "stand_in": not options.gpu,
        }
        print(write_results(options.json, figures))
    print("missed" if failed else "held")
    return int(failed)


async def measure(served: Served, track: Track, options: argparse.Namespace) -> Tally:
    """Stream until all faults have happened, and once more."""
    tally = Tally()
    expected = await finals(served, track, options.pace, tally)
    if not expected:
        raise SystemExit("nothing was recognised without faults")
    print(
        f"without faults: {len(expected)} finals, {', '.join(repr(text) for text, _ in expected[:3])}...",
        flush=True,
    )
    tally = Tally()
    async with asyncio.TaskGroup() as group:
        for number in range(options.streams):
            group.create_task(stream(served, track, expected, number, options, tally))
        await asyncio.to_thread(inject, served, options, tally)
        tally.done = True
    # After all of it the device is still used. A process comes back when somebody speaks, and not at once after a
    # fault: who waited for it in silence would wait for ever.
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        if await finals(served, track, options.pace, tally) != expected:
            tally.wrong.append("at the end, finals differ")
        if served.child() is not None:
            break
        if time.monotonic() > deadline:
            tally.wrong.append("at the end there was no process any more")
            break
    return tally


async def stream(
    served: Served, track: Track, expected: Finals, number: int, options: argparse.Namespace, tally: Tally
) -> None:
    while not tally.done:
        # Not all at the same place.
        await asyncio.sleep(random.random())
        try:
            got = await finals(served, track, options.pace, tally, interim=number % 2 == 0)
        except grpc.aio.AioRpcError as error:
            tally.wrong.append(f"stream {number}: {error.code().name}: {error.details()}")
            continue
        tally.finals += len(got)
        if got != expected:
            tally.wrong.append(f"stream {number}: {difference(expected, got)}")


async def finals(served: Served, track: Track, pace: float, tally: Tally, *, interim: bool = False) -> Finals:
    begun = time.monotonic()
    heard = await listen(served.address, track, interim=interim, pace=pace, chunk_seconds=0.1)
    tally.slowest = max(tally.slowest, time.monotonic() - begun - len(track.samples) / 16_000 / pace)
    return [(said.text, said.audio) for said in heard.results if said.final]


def difference(expected: Finals, got: Finals) -> str:
    """Where two lists of finals part."""
    for number, (one, other) in enumerate(zip(expected, got, strict=False)):
        if one != other:
            return f"final {number + 1} of {len(expected)} is {other}, not {one}"
    return f"{len(got)} finals, not {len(expected)}"


def inject(served: Served, options: argparse.Namespace, tally: Tally) -> None:
    """Let faults happen to whatever process is there, at random moments of its life."""
    chance = random.Random(options.seed)
    kinds: Sequence[str] = [kind for kind in FAULTS if not (options.gpu and kind == "out of memory")]
    while (number := sum(tally.faults.values())) < options.rounds:
        kind = kinds[number % len(kinds)]
        if not served.wait_for_child(True, BACK_SECONDS):
            tally.wrong.append(f"after {number} faults no process came for {BACK_SECONDS:g} s")
            return
        # Most of them at work, some in their first moments, while they open the model.
        if chance.random() < AT_WORK:
            wait_until_open(served)
        time.sleep(chance.uniform(0.0, 1.5))
        pid = served.child()
        if pid is None:
            continue
        tally.processes.add(pid)
        at_work = is_open(served, pid)
        try:
            os.kill(pid, FAULTS[kind])
        except ProcessLookupError:
            continue
        tally.faults[kind] += 1
        tally.at_work += at_work
        if kind != "out of memory":
            wait_until_gone(pid)
        if (number + 1) % 20 == 0:
            print(
                f"{number + 1} faults, {tally.finals} finals, {len(tally.wrong)} wrong",
                flush=True,
            )


def is_open(served: Served, pid: int) -> bool:
    return bool(served.said(rf"process {pid} is there"))


def wait_until_open(served: Served) -> None:
    """Whichever comes first: a process that has opened the model, or the end of patience."""
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        if (pid := served.child()) is not None and is_open(served, pid):
            return
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
