"""What somebody who speaks sees of the daemon: `python tests/bench/live.py`. See README.md.

Utterances with known ends are streamed at the pace of speech to `parakeetd serve` with the demo model, in messages of
20 ms as from a microphone. Three runs: with interims, without, and with `stop_history` 250 ms. Exit code 1 when a bound
is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from live_load import (
    Heard,
    after_the_end,
    after_the_onset,
    between_interims,
    daemon,
    listen,
    stable_words,
    utterances,
)
from measuring import ROOT, cpu_seconds, machine, percentile
from speech_load import Track, make_track

CHUNK_SECONDS = 0.02
STOP_MS = 800
SHORT_STOP_MS = 250


def run(track: Track, options: list[str], *, interim: bool, stop_history: int) -> tuple[Heard, float]:
    """What was heard, and the server's processor time in seconds."""
    with daemon(*options) as (address, pid):
        before = cpu_seconds(pid)
        heard = asyncio.run(
            listen(address, track, interim=interim, stop_history=stop_history, chunk_seconds=CHUNK_SECONDS)
        )
        return heard, cpu_seconds(pid) - before


def spread(values: list[float]) -> str:
    if not values:
        return "none"
    return (
        "  ".join(f"P{p} {1000 * percentile(values, p):.0f}" for p in (50, 95, 99)) + f" ms  ({len(values)})"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="of audio in each run")
    parser.add_argument(
        "--speech", type=Path, default=os.environ.get("PARAKEETD_SPEECH", ROOT / "../shared/speech")
    )
    parser.add_argument("options", nargs="*", help="for parakeetd serve, after --")
    arguments = parser.parse_args()
    pieces = utterances(Path(arguments.speech), ROOT / "daemon/parakeetd/embedded/clips")
    track = make_track(pieces, arguments.seconds, (1.2, 2.5))
    where = machine()
    print(
        f"{where['processor']}, {where['cores']} cores, load {where['load']}; {len(track.spoken)} utterances"
    )

    live, live_cpu = run(track, arguments.options, interim=True, stop_history=STOP_MS)
    plain, plain_cpu = run(track, arguments.options, interim=False, stop_history=STOP_MS)
    short, _ = run(track, arguments.options, interim=False, stop_history=SHORT_STOP_MS)
    seconds = len(track.samples) / 16_000
    missed: list[str] = []

    def row(name: str, shown: str, value: float, bound: float) -> None:
        print(f"{name:44} {shown}   bound {bound:g}{'' if value <= bound else '  MISSED'}")
        if not value <= bound:
            missed.append(name)

    def p(values: list[float], percent: float) -> float:
        return 1000 * percentile(values, percent) if values else float("inf")

    ends = {
        name: after_the_end(track.spoken, heard.results, CHUNK_SECONDS)
        for name, heard in (("with interims", live), ("without", plain), ("short", short))
    }
    for name in ("with interims", "without"):
        row(f"speech end to final, {name}", spread(ends[name]), p(ends[name], 95), STOP_MS + 50)
    row(
        f"speech end to final, stop_history {SHORT_STOP_MS}", spread(ends["short"]), p(ends["short"], 50), 300
    )
    row("the same, P95", spread(ends["short"]), p(ends["short"], 95), SHORT_STOP_MS + 50)
    onset = after_the_onset(track.spoken, live.results, CHUNK_SECONDS)
    row("onset to first text", spread(onset), p(onset, 95), 500)
    gaps = between_interims(track.spoken, live.results)
    row("new audio between interims", spread(gaps), p(gaps, 95), 320)
    stable = stable_words(live.results)
    words = sum(len(said.text.split()) for said in live.results if said.final)
    row(
        "stable words changed by the final",
        f"{stable.changed} of {stable.told} (finals have {words} words)",
        100 * stable.changed / max(1, stable.told),
        1.0,
    )
    row("stable words taken back by an interim", str(stable.taken_back), stable.taken_back, 0)
    ratio = live_cpu / plain_cpu
    row(
        "processor time with interims / without",
        f"{ratio:.2f} ({1000 * live_cpu / seconds:.1f} / {1000 * plain_cpu / seconds:.1f} ms per second)",
        ratio,
        2.0,
    )
    row(
        "utterances without a final",
        str(len(track.spoken) - len(ends["without"])),
        len(track.spoken) - len(ends["without"]),
        0,
    )
    differ = [said.text for said in live.results if said.final] != [s.text for s in plain.results if s.final]
    row("finals differ with interims", str(differ), float(differ), 0)
    late = [1000 * percentile(heard.late, 99) for heard in (live, plain, short)]
    print(f"{'sent late, P99 of each run':44} {'  '.join(f'{ms:.0f}' for ms in late)} ms")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
