"""Whether the daemon carries twice the streams of sherpa-onnx's server at the same latency, in turns.

    python tests/bench/streams_twice.py FILE.nemo [--folder DIR] [--streams 300,350,400] [--rounds 5]

Both servers run all the time. N streams go to sherpa-onnx's, then 2 N to the daemon, and again: the speed of a machine
changes from one minute to the next, and this way it changes for both. What a stream is and what counts as latency is
what `streams.py` says of its servers `utterances` and `sherpa`: clients send each utterance whole. With --vad both hear
live streams and detect speech themselves: its `parakeetd` and `sherpa-vad`. Prints each trial and the medians of P95;
exit code 1 when the daemon's is higher anywhere, or an utterance was lost.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))


from measuring import ROOT, machine, results_file, write_results
from speech_load import make_track, shipped_pieces
from speech_servers import (
    SHERPA_OPTIONS,
    Options,
    detection,
    parakeetd,
    parakeetd_utterances,
    sherpa,
    sherpa_with_detection,
)
from speech_trials import CLIPS, FLUSH_SECONDS, HEAD, PAUSES, Trial, once, tried


def turns(
    options: Options, folder: Path, streams: list[int], rounds: int
) -> dict[int, list[tuple[Trial, Trial]]]:
    """For each number of streams the trials of sherpa-onnx's server with it, and of the daemon with twice it."""
    tell = partial(print, flush=True)
    track = make_track(shipped_pieces(CLIPS), options.seconds + FLUSH_SECONDS + 120, PAUSES)
    made: dict[int, list[tuple[Trial, Trial]]] = {count: [] for count in streams}
    our_server, their_server = (
        (parakeetd, sherpa_with_detection) if options.detection else (parakeetd_utterances, sherpa)
    )
    with our_server(folder, options) as ours, their_server(folder, options) as theirs:
        for server in (ours, theirs):
            once(server, max(streams), track, options)  # warm
        print(HEAD, flush=True)
        for _ in range(rounds):
            for count in streams:
                made[count].append(
                    (tried(theirs, count, track, options, tell), tried(ours, 2 * count, track, options, tell))
                )
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="SIZE|FILE.nemo", help="as for peers.py")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keeps what is made, as for peers.py")
    parser.add_argument("--streams", default="300,350,400", metavar="N,N", help="of sherpa-onnx's server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="that streams last")
    parser.add_argument(
        "--vad", type=Path, metavar="MODEL.onnx", help="Silero's model: both hear live streams"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv/bin/python", help="that runs the daemon")
    parser.add_argument("--convert", type=Path, default=ROOT / ".venv-convert/bin/python", metavar="PYTHON")
    parser.add_argument(
        "--sherpa",
        type=Path,
        default=ROOT / ".venv-sherpa/bin/sherpa-onnx-offline-websocket-server",
        metavar="PROGRAM",
    )
    arguments = parser.parse_args()
    streams = [int(text) for text in arguments.streams.split(",")]
    options = Options(
        seconds=arguments.seconds,
        chunk=0.1,
        end_silence=0.8,
        silent_seconds=0.0,
        max_streams=2 * max(streams) + 10,
        interim=False,
        precision="int8",
        python=arguments.python,
        sherpa=arguments.sherpa,
        sherpa_options=shlex.split(SHERPA_OPTIONS),
        cpu_process=True,
        detection=arguments.vad and detection(arguments.sherpa, arguments.vad, 0.1),
    )
    where = machine()
    with ExitStack() as stack:
        folder = arguments.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="parakeetd-peers-"))
        )
        maker = Path(__file__).with_name("peers_models.py")
        subprocess.run([str(arguments.convert), str(maker), arguments.model, str(folder)], check=True)
        made = turns(options, folder.resolve(), streams, arguments.rounds)
    held = True
    for count, pairs in made.items():
        their, our = (median(pair[i].latencies.p95 for pair in pairs) for i in (0, 1))
        lost = sum(pair[1].latencies.lost for pair in pairs)
        held = held and our <= their and not lost
        print(
            f"{'held  ' if our <= their and not lost else 'MISSED'} {2 * count} streams: P95 {1e3 * our:.0f} ms, "
            f"{lost} lost; sherpa-onnx with {count}: {1e3 * their:.0f} ms (medians of {len(pairs)})"
        )
    name = Path(arguments.model).name.removesuffix(".nemo")
    results = {
        "machine": where,
        "model": name,
        "seconds": options.seconds,
        "trials": {
            count: [[asdict(trial) for trial in pair] for pair in pairs] for count, pairs in made.items()
        },
    }
    today = datetime.datetime.now().astimezone().date()
    what = f"streams-twice-{'live-' if arguments.vad else ''}{name}"
    print(write_results(arguments.output or results_file(what, where, today), results))
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
