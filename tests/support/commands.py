"""Runs the `parakeetd` command: in the test's own process, where that shows the same, or in one of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

PARAKEETD = [sys.executable, "-m", "parakeetd.cli"]

PATIENCE_SECONDS = 60.0
"""A process that has not ended by then is killed, so that a test fails rather than hangs."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr."""
        lines = self.err.splitlines()
        if len(lines) != 1:
            raise AssertionError(f"expected one line on stderr, not: {self.err!r}")
        return lines[0]


Command = Callable[..., Outcome]
"""Runs a command in the test's own process."""


def home(folder: Path) -> dict[str, str]:
    """An environment in which the user has nothing of parakeetd's."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return inherited | {"HOME": str(folder)}


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Processes that are started meanwhile end at Ctrl-C, also where tests run in the background of a shell script: it
    has its children ignore it, and theirs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run(*arguments: str | Path, env: dict[str, str], cwd: Path | None = None, stdin: bytes = b"") -> Outcome:
    """Run the command to its end in a process of its own."""
    return _ended([*PARAKEETD, *map(str, arguments)], env, cwd, stdin)


def _ended(command: list[str], env: dict[str, str], cwd: Path | None, stdin: bytes) -> Outcome:
    done = subprocess.run(
        command, env=env, cwd=cwd, input=stdin, capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_unprivileged(*arguments: str | Path, env: dict[str, str]) -> Outcome:
    """As `run`, also for root by the modes of files. Skips where that cannot be had."""
    prefix = []
    if os.geteuid() == 0:
        if not (setpriv := shutil.which("setpriv")):
            pytest.skip("root reads every file, and setpriv is missing: apt-get install util-linux")
        capabilities = "-dac_override,-dac_read_search"
        prefix = [setpriv, f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]
    return _ended([*prefix, *PARAKEETD, *map(str, arguments)], env, None, b"")


@dataclass
class Served:
    """A daemon in a process of its own."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    """Lines on stderr so far."""

    @property
    def addresses(self) -> list[str]:
        return [line.removeprefix("listening on ") for line in self.said if line.startswith("listening on ")]

    def wait_for(self, wanted: str) -> None:
        """Read stderr up to this line."""
        stream: IO[str] | None = self.process.stderr
        for line in stream or ():
            self.said.append(line.rstrip("\n"))
            if self.said[-1] == wanted:
                return
        raise AssertionError(f"the daemon ended without saying {wanted!r}; it said: {self.said}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=PATIENCE_SECONDS)
        self.said += rest.splitlines()
        return self.process.returncode


@contextmanager
def served(
    *arguments: str | Path, env: dict[str, str], seconds: float = PATIENCE_SECONDS
) -> Iterator[Served]:
    """`parakeetd serve` with these arguments, ready; killed at the end if the test has not ended it, or after so many
    seconds."""
    with subprocess.Popen(
        [*PARAKEETD, "serve", *map(str, arguments)], env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(seconds, process.kill)
        watchdog.start()
        try:
            daemon = Served(process)
            daemon.wait_for("ready")
            yield daemon
        finally:
            watchdog.cancel()
            process.kill()
