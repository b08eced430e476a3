"""Load a daemon with NVIDIA's own Riva client, unmodified, at the pace of speech.

    python tests/bench/riva_load.py [--streams 20] [--seconds 600] [--file-seconds 60] [--json FILE]

Each stream sends WAV files of utterances and pauses one after the other, each over a connection of its own, as the
client's `transcribe_file.py --simulate-realtime` does. Its finals must be those that `parakeetd transcribe` writes for
the same file, one for one. Needs the client's environment: `make .venv-riva/.ready`.

Exit code 1 when a stream ended with an error, an utterance got no final, a final is another than that of `transcribe`,
or the daemon logged an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from measuring import ROOT, cpu_seconds, machine, resident_mb
from riva_judged import load, write_files
from watching import watched

FILES = 10


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--file-seconds", type=float, default=60.0)
    parser.add_argument(
        "--client", type=Path, default=ROOT / ".venv-riva/bin/python", help="that has the client"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    where = machine()
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    config = f"[limits]\nmax_streams = {options.streams + 4}\n"
    with tempfile.TemporaryDirectory(prefix="parakeetd-riva-") as home, watched(config=config) as daemon:
        files = write_files(Path(home), FILES, options.file_seconds)
        mb_before, cpu_before, begun = resident_mb(daemon.pid), cpu_seconds(daemon.pid), time.monotonic()
        made = load(daemon.address, options.client, Path(home), files, options.streams, options.seconds)
        seconds = time.monotonic() - begun
        cores = (cpu_seconds(daemon.pid) - cpu_before) / seconds
        mb_after = resident_mb(daemon.pid)
        code = daemon.end()
        log = daemon.errors()
    print(
        f"{options.streams} streams, {seconds:.0f} s: {made.streamed} files, {made.utterances} utterances, "
        f"{made.interims} interims; {len(made.errors)} errors, {len(made.lost)} lost, {len(made.other)} files with "
        f"other finals than transcribe; ended at most {made.late:.1f} s after the file; "
        f"{cores:.2f} cores, {mb_before:.0f} -> {mb_after:.0f} MB"
    )
    problems = made.errors + made.lost + made.other + [f"the log says: {line}" for line in log]
    if code != 0:
        problems.append(f"the daemon ended with exit code {code}")
    for problem in problems[:40]:
        print(f"PROBLEM: {problem}")
    if options.json:
        report = {
            "machine": where,
            "streams": options.streams,
            "seconds": seconds,
            "cores": cores,
            "resident_mb": [mb_before, mb_after],
            "load": asdict(made),
            "problems": problems,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
