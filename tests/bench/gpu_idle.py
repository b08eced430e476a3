"""A GPU that nobody needs has no process of ours on it, and who then speaks is served by the CPU until it is back.

    python tests/bench/gpu_idle.py [--idle 3] [--json FILE]

On a machine without a GPU, CPU sessions stand in for it, in the same process, which takes 8 s to open. With `--gpu` the
GPU is real, and NVIDIA's own list of processes is looked at too. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from gpu_worker import Served, serving
from live_load import listen
from measuring import machine, resident_mb, write_results
from parakeetd.model.bundle import EMBEDDED
from speech_load import Track, make_track, shipped_pieces

AT_MOST_SECONDS = 2.0
"""From the end of the first utterance to its final, beyond the silence that ends it."""
END_SILENCE_SECONDS = 0.8
LEFT_SECONDS = 10.0
"""Beyond the idle time."""
BACK_SECONDS = 180.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--idle", type=float, default=3.0, help="seconds after which the GPU is left")
    parser.add_argument("--gpu", action="store_true", help="the GPU is real")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    track = make_track(shipped_pieces(EMBEDDED.parent / "clips"), 4.0, (3.0, 3.0))
    bars: dict[str, bool] = {}
    figures: dict[str, float] = {}
    kind = None if options.gpu else "late"
    device = f"threshold_seconds = 0.0\ngpu_idle_seconds = {options.idle}"
    with serving(kind=kind, device=device) as served:
        bars["no process on the GPU when the daemon is ready"] = nobody(served, options)
        for turn in ("first", "after idling"):
            woken = time.monotonic()
            latency = asyncio.run(utterance(served, track))
            told = time.monotonic()
            figures[f"{turn}: seconds from the end of speech to its final"] = latency
            bars[f"{turn}: the final comes within {AT_MOST_SECONDS:g} s"] = latency <= AT_MOST_SECONDS
            came = wait_for(served, "is there after", since=woken, seconds=BACK_SECONDS)
            bars[f"{turn}: the process is there afterwards"] = came is not None
            figures[f"{turn}: seconds from the stream's begin until the GPU's process serves"] = (
                came or 0.0
            ) - woken
            # A fast GPU may be there before the utterance ends.
            bars[f"{turn}: the CPU served meanwhile"] = options.gpu or (came is not None and came > told)
            if child := served.child():
                figures[f"{turn}: MB resident in the GPU's process"] = resident_mb(child)
            left = wait_for(served, "has left", since=told, seconds=options.idle + LEFT_SECONDS)
            figures[f"{turn}: seconds until it left"] = (left or 0.0) - (came or 0.0)
            bars[f"{turn}: it leaves after its idle time"] = (
                left is not None and came is not None and left - came >= options.idle - 0.1
            )
            bars[f"{turn}: then no process is on the GPU"] = nobody(served, options)
        bars["nothing failed"] = not served.said("failed|Traceback")
    for name, figure in figures.items():
        print(f"{figure:8.2f}  {name}")
    for name, held in bars.items():
        print(f"{'held' if held else 'MISSED':8}  {name}")
    if options.json:
        results = {"date": f"{datetime.date.today()}", "machine": machine(), "stand_in": not options.gpu}
        print(write_results(options.json, results | {"figures": figures, "bars": bars}))
    return int(not all(bars.values()))


def nobody(served: Served, options: argparse.Namespace) -> bool:
    """Whether the daemon has no process for the GPU and is none itself."""
    if served.child() is not None:
        return False
    if not options.gpu or not shutil.which("nvidia-smi"):
        return True
    command = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    on_gpu = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return str(served.pid) not in on_gpu


def wait_for(served: Served, pattern: str, *, since: float, seconds: float) -> float | None:
    """When the daemon said this, at `since` or later; None when it does not within this time."""
    deadline = time.monotonic() + seconds
    while not (found := [at for at in served.said(pattern) if at >= since]):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return found[0]


async def utterance(served: Served, track: Track) -> float:
    """Say the first utterance of the track; seconds from its end, and the silence that shows it, to its final."""
    spoken = track.spoken[0]
    first = track.window(0, spoken.end - spoken.start + 2.0)
    begun = time.monotonic()
    heard = await listen(served.address, first, interim=False)
    [final] = [said for said in heard.results if said.final]
    if final.text != first.spoken[0].text:
        print(f"heard {final.text!r}, said was {first.spoken[0].text!r}")
    print(f"{final.text!r} after {time.monotonic() - begun:.1f} s")
    return final.at - first.spoken[0].end - END_SILENCE_SECONDS


if __name__ == "__main__":
    sys.exit(main())
