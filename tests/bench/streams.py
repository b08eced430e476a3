"""Real-time streams through the real server, and the same speech through sherpa-onnx's own server.

    python tests/bench/streams.py FILE.nemo [--folder DIR] [--streams 1,10,50,100] [--seconds 60] [--search 0.05,0.5]

Each stream sends utterances of the shipped clips with pauses, at the pace at which they are spoken, over a connection
of its own: to `parakeetd serve` over gRPC, chunk by chunk; to sherpa-onnx's offline WebSocket server (it takes whole
utterances, and has no voice-activity detection) each utterance when its end is known. The end is known when
--end-silence has been sent after the last sample of speech. Latency counts from there to the final result, for both:
what the user waits beyond the silence that an end of speech takes by definition.

Then silent streams, of digital zeros and of a quiet room: processor time of the server per stream.

--search finds the most streams whose P95 is within each bound, of which no final is lost, for each server. Exit code 1
when ours is less than twice sherpa-onnx's, or a silent stream takes 1 % of a core or more. Results go to `results/`,
and with --print nowhere, with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import itertools
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from measuring import ROOT, cpu_seconds, machine, results_file, write_results
from speech_load import (
    RATE,
    Track,
    make_track,
    most_streams,
    shipped_pieces,
)
from speech_servers import (
    SHERPA_OPTIONS,
    Options,
    Parakeetd,
    Server,
    detection,
    parakeetd,
    parakeetd_utterances,
    sherpa,
    sherpa_with_detection,
    until,
)
from speech_trials import CLIPS, FLUSH_SECONDS, HEAD, PAUSES, Trial, once, tried

TWICE, SILENT_SHARE = 2.0, 0.01
TELL = partial(print, flush=True)

Serving = Callable[[Path, Options], AbstractContextManager[Server]]

SERVERS: Mapping[str, Serving] = {
    "parakeetd": parakeetd,
    "utterances": parakeetd_utterances,
    "sherpa": sherpa,
    "sherpa-vad": sherpa_with_detection,
}


@dataclass(frozen=True)
class Silence:
    """What streams cost in which nobody speaks."""

    kind: str
    streams: int
    chunk_seconds: float
    share: float
    """Of a core, per stream."""


async def silence(
    server: Parakeetd, kind: Literal["zeros", "quiet room"], streams: int, options: Options
) -> Silence:
    samples = np.zeros(round((options.silent_seconds + 4) * RATE), np.float32)
    if kind == "quiet room":
        samples += np.random.default_rng(5).normal(0, 0.001, len(samples)).astype(np.float32)
    track = Track(samples, ())
    begin = asyncio.get_running_loop().time() + 0.5
    running = [asyncio.create_task(server.stream(track, begin, options.chunk)) for _ in range(streams)]
    # After the streams have opened and before the first ends.
    await until(begin + 2)
    before = cpu_seconds(server.pid)
    await until(begin + 2 + options.silent_seconds)
    used = cpu_seconds(server.pid) - before
    heard = [final for answer in await asyncio.gather(*running) for final in answer.finals]
    if heard:
        print(f"  {kind}: {len(heard)} finals of nothing, such as {heard[0].text!r}")
    return Silence(kind, streams, options.chunk, used / options.silent_seconds / streams)


def search(
    server: Server, track: Track, options: Options, bound: float, known: Sequence[Trial]
) -> tuple[int, list[Trial]]:
    """The most streams whose P95 is within `bound` seconds with no final lost, and the trials that it took.

    Args:
        known: trials of this server that were made before.
    """

    def within(made: Trial) -> bool:
        return made.valid and made.latencies.p95 <= bound and not made.latencies.lost

    trials: list[Trial] = []
    held = [(made.streams, within(made)) for made in known]
    while (streams := most_streams(held)) is not None and streams <= options.max_streams:
        trials.append(tried(server, streams, track, options, TELL))
        if not within(trials[-1]):
            # One pause of the machine would end the search: a bound is missed when it is missed twice.
            trials.append(tried(server, streams, track, options, TELL))
        held.append((streams, within(trials[-1])))
    return max((n for n, ok in held if ok), default=0), trials


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="SIZE|FILE.nemo", help="as for peers.py")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keeps what is made, as for peers.py")
    parser.add_argument("--streams", default="1,10,50,100", metavar="N,N", help="empty for none")
    parser.add_argument("--seconds", type=float, default=60.0, help="that streams last")
    parser.add_argument(
        "--search", default="", metavar="S,S", help="find the most streams with these P95, in seconds"
    )
    parser.add_argument("--search-seconds", type=float, default=30.0, help="that streams of the search last")
    parser.add_argument("--chunk", type=float, default=0.1, help="seconds of audio in a message")
    parser.add_argument("--end-silence", type=float, default=0.8, help="seconds that end an utterance")
    parser.add_argument("--interim", action="store_true", help="ask the daemon for interim results too")
    parser.add_argument(
        "--cpu-process", action="store_true", help="the daemon computes in a process of its own"
    )
    parser.add_argument(
        "--servers",
        default="parakeetd,sherpa",
        metavar="NAME,NAME",
        help="of parakeetd, utterances (the daemon whose clients send whole utterances, as sherpa-onnx's do), sherpa, "
        "sherpa-vad (with its detectors beside it; needs --vad)",
    )
    parser.add_argument("--precision", default="int8", choices=("int8", "fp32"))
    parser.add_argument("--silent", type=int, default=20, help="streams in which nobody speaks; 0 for none")
    parser.add_argument("--silent-seconds", type=float, default=20.0)
    parser.add_argument("--max-streams", type=int, default=1024)
    results_go = parser.add_mutually_exclusive_group()
    results_go.add_argument("--output", type=Path, metavar="FILE.json")
    results_go.add_argument("--print", action="store_true", help="write no results, exit with 0")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv/bin/python", help="that runs the daemon")
    parser.add_argument("--convert", type=Path, default=ROOT / ".venv-convert/bin/python", metavar="PYTHON")
    parser.add_argument(
        "--sherpa",
        type=Path,
        default=ROOT / ".venv-sherpa/bin/sherpa-onnx-offline-websocket-server",
        metavar="PROGRAM",
    )
    parser.add_argument(
        "--vad",
        type=Path,
        metavar="MODEL.onnx",
        help="Silero's model, for sherpa-vad",
    )
    parser.add_argument(
        "--sherpa-options",
        default=SHERPA_OPTIONS,
        help="default: %(default)s",
    )
    arguments = parser.parse_args()
    chosen = arguments.servers.split(",")
    if unknown := [name for name in chosen if name not in SERVERS]:
        parser.error(f"--servers: {unknown[0]!r} is none of {', '.join(SERVERS)}")
    if "sherpa-vad" in chosen and arguments.vad is None:
        parser.error("--servers sherpa-vad needs --vad")
    options = Options(
        seconds=arguments.seconds,
        chunk=arguments.chunk,
        end_silence=arguments.end_silence,
        silent_seconds=arguments.silent_seconds,
        max_streams=arguments.max_streams,
        interim=arguments.interim,
        cpu_process=arguments.cpu_process,
        precision=arguments.precision,
        python=arguments.python,
        sherpa=arguments.sherpa,
        sherpa_options=shlex.split(arguments.sherpa_options),
        detection=arguments.vad and detection(arguments.sherpa, arguments.vad, arguments.chunk),
    )
    where = machine()
    with ExitStack() as stack:
        folder = arguments.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="parakeetd-peers-"))
        )
        maker = Path(__file__).with_name("peers_models.py")
        subprocess.run([str(arguments.convert), str(maker), arguments.model, str(folder)], check=True)
        return measure(folder.resolve(), arguments, options, where)


def measure(folder: Path, arguments: argparse.Namespace, options: Options, where: dict[str, str]) -> int:
    counts = [int(text) for text in arguments.streams.split(",") if text]
    longest = max(options.seconds, arguments.search_seconds)
    track = make_track(shipped_pieces(CLIPS), longest + FLUSH_SECONDS + 120, PAUSES)
    servers: list[Serving] = [SERVERS[name] for name in arguments.servers.split(",")]
    name = Path(arguments.model).name.removesuffix(".nemo")
    print(
        f"{name}, {options.precision}; {', '.join(f'{key} {value}' for key, value in where.items())}\n{HEAD}"
    )
    trials: list[Trial] = []
    most: dict[str, dict[float, int]] = {}
    silent: list[Silence] = []
    bounds = [float(text) for text in arguments.search.split(",") if text]
    for serve in servers:
        with serve(folder, options) as server:
            once(server, 1, track, _shorter(options, 10.0))  # warm
            known = [tried(server, streams, track, options, TELL) for streams in counts]
            shorter = _shorter(options, arguments.search_seconds)
            for bound in bounds:
                found, searched = search(server, track, shorter, bound, known)
                most.setdefault(server.name, {})[bound] = found
                known += searched
            trials += known
            if server.name == "parakeetd" and isinstance(server, Parakeetd) and arguments.silent:
                kinds: tuple[Literal["zeros", "quiet room"], ...] = ("zeros", "quiet room")
                silent += [asyncio.run(silence(server, kind, arguments.silent, options)) for kind in kinds]
    judged = judge(most, silent)
    for streams_cost in silent:
        print(
            f"silent, {streams_cost.kind}: {100 * streams_cost.share:.2f} % of a core per stream "
            f"({streams_cost.streams} streams, {1e3 * streams_cost.chunk_seconds:.0f} ms a message)"
        )
    for server_name, by_bound in most.items():
        for bound, streams in by_bound.items():
            print(f"{server_name}: {streams} streams with P95 within {1e3 * bound:g} ms")
    for text, held in judged:
        print(f"{'held  ' if held else 'MISSED'} {text}")
    if arguments.print:
        return 0
    results = {
        "machine": where | {"load after": f"{os.getloadavg()[0]:.1f}"},
        "model": name,
        "options": vars(arguments) | {"model": name, "output": None, "folder": None},
        "trials": [asdict(made) for made in trials],
        "most_streams": most,
        "silent": [asdict(made) for made in silent],
        "bars": judged,
    }
    today = datetime.datetime.now().astimezone().date()
    plain = json.loads(json.dumps(results, default=str).replace(f"{ROOT}/", ""))
    print(write_results(arguments.output or results_file(f"streams-{name}", where, today), plain))
    return int(not all(held for _, held in judged))


def judge(most: dict[str, dict[float, int]], silent: Sequence[Silence]) -> list[tuple[str, bool]]:
    """What must hold, and whether it does."""
    judged = []
    ours = {name: by_bound for name, by_bound in most.items() if name.startswith("parakeetd")}
    theirs = {name: by_bound for name, by_bound in most.items() if name not in ours}
    for our_name, name in itertools.product(ours, theirs):
        for bound, streams in theirs[name].items():
            ratio = ours[our_name][bound] / streams if streams else math.inf
            at = f"{our_name}: {ratio:.2f} x the streams of {name} with P95 within {1e3 * bound:g} ms"
            judged.append((f"{at}, at least {TWICE:g} x wanted", ratio >= TWICE))
    for cost in silent:
        share = f"{100 * cost.share:.2f} % of a core per silent stream ({cost.kind})"
        text = f"{share}, under {100 * SILENT_SHARE:g} % wanted"
        judged.append((text, cost.share < SILENT_SHARE))
    return judged


def _shorter(options: Options, seconds: float) -> Options:
    return Options(**{**options.__dict__, "seconds": seconds})


if __name__ == "__main__":
    sys.exit(main())
