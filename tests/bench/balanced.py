"""The README's examples of balancers, run: two daemons behind Envoy or nginx.

    python tests/bench/balanced.py [--balancers envoy,nginx] [--envoy PROGRAM] [--nginx PROGRAM] [--client PYTHON]

NVIDIA's unmodified client (its environment: make test makes it) has to get the same text through the balancer as from a
daemon. Streams that begin together have to be spread over both. Then one daemon is killed (SIGKILL) under streams: the
others must go on, the lost ones must end with an error, and new ones must succeed, which is tried each half second. At
last `transcribe --cluster` has 100 files recognised through the balancer while a daemon is killed and comes back.

Exits with 1 when something of this does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from balancers import balancer, program
from clips import shipped_clips
from commands import PARAKEETD, Served, home, served
from many_files import judged, many_files
from measuring import ROOT, machine
from parakeetd.errors import CallFailed
from parakeetd.rpc.client import stream_file

STREAMS = 8
WITHIN_SECONDS = 10.0
FILES = 100


class Bench:
    def __init__(self, address: str, daemons: list[Served], env: dict[str, str], client: Path) -> None:
        self.address = address
        self.daemons = daemons
        self.direct = [daemon.addresses[0] for daemon in daemons]
        self.env = env
        self.client = client
        self.problems: list[str] = []

    def promise(self, held: bool, problem: str) -> None:
        if not held:
            self.problems.append(problem)

    def text(self) -> None:
        """The unmodified client's, of both ways of recognising."""
        compared = 0
        for clip in shipped_clips():
            if (clip.rate, clip.channels) != (16_000, 1):
                continue
            for way in ("stream", "offline"):
                through, direct = (
                    self._riva(way, where, clip.path) for where in (self.address, self.direct[1])
                )
                self.promise(through == direct, f"{way} of {clip.path.name}: {through}, not {direct}")
                self.promise(direct[0] == clip.nemo_text, f"{way} of {clip.path.name}: {direct[0]}")
                compared += 1
        same = compared - len(self.problems)
        print(f"NVIDIA's client: {same} of {compared} answers are the same through the balancer")

    def _riva(self, way: str, address: str, file: Path) -> tuple[str, list[Any]]:
        """The text, and the words with their times and confidences."""
        with tempfile.NamedTemporaryFile(suffix=".wav") as wave:
            import soundfile

            samples, rate = soundfile.read(file, dtype="int16")
            soundfile.write(wave.name, samples, rate, subtype="PCM_16", format="WAV")
            done = subprocess.run(
                [self.client, ROOT / "tests/support/riva_client.py", way, address, wave.name],
                capture_output=True,
                timeout=60,
                check=False,
            )
        if done.returncode:
            return f"failed: {done.stderr.decode().strip().splitlines()[-1]}", []
        told = json.loads(done.stdout)
        return "".join(told["finals"]).strip(), told["words"]

    async def lost(self) -> None:
        """Streams in real time, and a daemon that dies under them."""
        clip = max(shipped_clips(), key=lambda clip: clip.seconds)
        streams = [asyncio.create_task(self._stream(clip.path)) for _ in range(STREAMS)]
        await asyncio.sleep(min(2.0, clip.seconds / 2))
        open_at = [self._open_at(daemon) for daemon in self.daemons]
        self.promise(sum(open_at) == STREAMS, f"{open_at} streams are open, of {STREAMS}")
        self.promise(min(open_at) >= 1, f"the balancer has put {open_at} streams on the daemons")
        killed = time.monotonic()
        self.daemons[0].process.kill()
        good, failures = None, Counter[str]()
        while good is None and time.monotonic() < killed + WITHIN_SECONDS:
            told = await self._stream(clip.path, real_time=False)
            if told == clip.nemo_text:
                good = time.monotonic() - killed
            else:
                failures[told] += 1
                await asyncio.sleep(0.5)
        self.promise(good is not None, f"no new stream succeeds within {WITHIN_SECONDS:g} s: {failures}")
        answers = await asyncio.gather(*streams)
        ended = Counter(answer.split(": ")[1] for answer in answers if answer.startswith("server "))
        went_on = answers.count(clip.nemo_text)
        self.promise(
            (went_on, ended.total()) == (open_at[1], open_at[0]),
            f"{open_at[0]} streams were lost, {ended} ended with an error, {went_on} of {open_at[1]} went on",
        )
        print(
            f"killed under {open_at} streams: {went_on} went on, the lost ended with {dict(ended)}; a new one "
            f"had succeeded after {good or 0:.1f} s, {dict(failures) or 'none'} failed before"
        )

    async def _stream(self, file: Path, *, real_time: bool = True) -> str:
        try:
            lines = stream_file(self.address, file, real_time=real_time)
            return " ".join([line.text async for line in lines if line.is_final])
        except CallFailed as error:
            return str(error)

    def _open_at(self, daemon: Served) -> int:
        socket_address = next(address for address in daemon.addresses if address.startswith("unix:"))
        done = subprocess.run(
            [*PARAKEETD, "status", "--json", "--socket", socket_address.removeprefix("unix:")],
            env=self.env,
            capture_output=True,
            check=True,
        )
        streams: int = json.loads(done.stdout)["streams"]
        return streams

    def bulk(self, work: Path) -> None:
        """Files through the balancer; the second daemon is killed and comes back."""
        many, output = many_files(work / "in", FILES), work / "out"
        command = [*PARAKEETD, "transcribe", "--format", "json", "--cluster", self.address]
        with subprocess.Popen(
            [*command, "--output", str(output), str(many.folder)],
            env=self.env,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while len(list(output.rglob("*.json"))) < FILES // 4 and process.poll() is None:
                time.sleep(0.05)
            self.daemons[1].process.kill()
            self.daemons[1].process.wait()
            with served(*_listening(self.direct[1], work / "again.sock"), env=self.env, seconds=300):
                _, told = process.communicate(timeout=240)
        self.problems += judged(many, output)
        self.promise(process.returncode == 0, f"transcribe --cluster ended with {process.returncode}")
        print(f"a daemon killed under transcribe --cluster: {told.strip()}")


def _listening(address: str, socket: Path) -> list[str]:
    return ["--listen", address, "--listen", f"unix:{socket}"]


def run(kind: str, options: argparse.Namespace) -> list[str]:
    """What does not hold with this balancer."""
    with tempfile.TemporaryDirectory(prefix="parakeetd-balanced-") as folder, ExitStack() as stack:
        work = Path(folder)
        (work / "home").mkdir()
        env = home(work / "home")

        def start(address: str, number: int) -> Served:
            return stack.enter_context(
                served(*_listening(address, work / f"{number}.sock"), env=env, seconds=600)
            )

        daemons = [start("127.0.0.1:0", number) for number in range(2)]
        direct = [daemon.addresses[0] for daemon in daemons]
        where = program(kind, getattr(options, kind))
        address = stack.enter_context(balancer(kind, where, direct, work / kind))
        print(f"{kind}: {version(where)}")
        bench = Bench(address, daemons, env, options.client)
        bench.text()
        asyncio.run(bench.lost())
        daemons[0] = start(direct[0], 2)
        # What a balancer has given up it tries again after some seconds.
        threading.Event().wait(6.0)
        bench.bulk(work)
    return [f"{kind}: {problem}" for problem in bench.problems]


def version(where: Path) -> str:
    flag = "-v" if where.name == "nginx" else "--version"
    done = subprocess.run([where, flag], capture_output=True, text=True, check=False)
    return " ".join((done.stdout + done.stderr).split())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--balancers", default="envoy,nginx")
    parser.add_argument("--envoy", help="the program, where it is not on the path")
    parser.add_argument("--nginx", help="the program, where it is not on the path")
    parser.add_argument(
        "--client", type=Path, default=ROOT / ".venv-riva/bin/python", help="that has NVIDIA's client"
    )
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    problems = [problem for kind in options.balancers.split(",") for problem in run(kind, options)]
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
