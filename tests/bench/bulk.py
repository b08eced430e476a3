"""Many files over a cluster of which a machine dies under way: none may be lost, none doubled, each with its text.

    python tests/bench/bulk.py [--files 200] [--jobs 8] [--after 60] [--address ADDR]... [--kill COMMAND] [--one]

Without --address two daemons of its own serve: one is killed (SIGKILL) when --after results are there, and started
again three seconds later. With --one only a single daemon is there, so that for these seconds nobody answers.
With --address that service is used, and --kill says what takes a machine of it away (and brings it back, if it
must), run by the shell when --after results are there.

Recordings are the shipped clips under many names, singly, in pairs, and a few long ones; each text has to be NeMo's.
`parakeetd transcribe --cluster` is stopped once in between, as by Ctrl-C, and has to go on where it stopped.

Exits with 1 when a result is missing, is of another file, is written twice, has another text, or a part of one is left.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from commands import PARAKEETD, Served, heeding_ctrl_c, home, served
from many_files import judged, many_files
from measuring import machine

AWAY_SECONDS = 3.0
RUN_SECONDS = 900.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--after", type=int, default=60, help="results, when a machine is killed")
    parser.add_argument("--address", action="append", default=[], help="of a service that runs already")
    parser.add_argument("--kill", metavar="COMMAND", help="takes a machine of it away")
    parser.add_argument("--one", action="store_true", help="one daemon of our own instead of two")
    parser.add_argument("--no-stop", action="store_true", help="do not stop the command in between")
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    with tempfile.TemporaryDirectory(prefix="parakeetd-bulk-") as folder, ExitStack() as stack:
        work = Path(folder)
        if not options.address:
            addresses, kill = stack.enter_context(daemons(work, 1 if options.one else 2))
            return run(work, addresses, kill, options)

        def by_command() -> object:
            return subprocess.run(options.kill, shell=True, check=True)

        return run(work, options.address, by_command if options.kill else None, options)


def run(
    work: Path, addresses: list[str], kill: Callable[[], object] | None, options: argparse.Namespace
) -> int:
    """Returns the exit code."""
    many = many_files(work / "in", options.files)
    output = work / "out"
    command = [
        *PARAKEETD,
        "transcribe",
        "--format",
        "json",
        "--jobs",
        str(options.jobs),
        "--output",
        str(output),
    ]
    command += [word for address in addresses for word in ("--cluster", address)]
    command.append(str(many.folder))
    begun = time.monotonic()
    first_half = 0
    if not options.no_stop:
        with running(command) as process:
            until(output, options.after // 2, process)
            process.send_signal(signal.SIGINT)
            process.wait(30)
            first_half = count(output)
            print(f"stopped after {first_half} results, exit code {process.returncode}")
    with running(command) as process:
        if kill is not None:
            until(output, options.after, process)
            print(f"a machine is killed after {count(output)} results")
            kill()
        code = process.wait(RUN_SECONDS)
    seconds = time.monotonic() - begun
    problems = judged(many, output)
    if code:
        problems.append(f"the command ended with {code}")
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    print(f"{options.files} files, {options.jobs} at a time, {seconds:.1f} s: {len(problems)} problems")
    return int(bool(problems))


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with heeding_ctrl_c():
        process = subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    with process:
        try:
            yield process
        finally:
            process.kill()


def count(output: Path) -> int:
    return sum(1 for _ in output.rglob("*.json"))


def until(output: Path, results: int, process: subprocess.Popen[bytes]) -> None:
    """Wait for so many results."""
    while count(output) < results:
        if process.poll() is not None:
            raise SystemExit(f"the command ended with {process.returncode} after {count(output)} results")
        time.sleep(0.05)


@contextmanager
def daemons(work: Path, number: int) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """Daemons of our own, and what kills the first one and starts it again at its address."""
    (work / "home").mkdir()
    env = home(work / "home")
    with ExitStack() as stack:

        def start(listen: str) -> Served:
            return stack.enter_context(served("--listen", listen, env=env, seconds=RUN_SECONDS))

        running = [start("127.0.0.1:0") for _ in range(number)]
        addresses = [daemon.addresses[0] for daemon in running]

        def kill() -> None:
            running[0].process.kill()
            running[0].process.wait()
            time.sleep(AWAY_SECONDS)
            start(addresses[0])

        yield addresses, kill


if __name__ == "__main__":
    sys.exit(main())
