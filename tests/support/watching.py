"""A daemon in a process of its own that tells what is alive in it, and what the kernel knows of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from measuring import resident_mb

SCRIPT = Path(__file__).with_name("watched_daemon.py")

READY_SECONDS = 120.0
END_SECONDS = 60.0
TELL_SECONDS = 30.0
"""Bounds that only a daemon passes that hangs."""


POOL_THREADS = 8
"""gRPC's pool and asyncio's grow to a size that depends on how much comes at once, under no names of their own."""


@dataclass(frozen=True)
class Alive:
    """What is there of a daemon at a moment."""

    tasks: Mapping[str, int]
    """asyncio's, by the name of their coroutine."""
    threads: Mapping[str, int]
    """The kernel's, by their name; Python does not name its own in all versions."""
    files: Mapping[str, int]
    """Open descriptors, by what they are."""
    resident_mb: float
    objects: Mapping[str, int]
    """Of Python's, by type: the commonest."""

    def left_over(self, before: Alive) -> list[str]:
        """What there is more of than before, in words."""
        left = []
        for what in ("tasks", "threads", "files"):
            was, now = getattr(before, what), getattr(self, what)
            more = {name: count - was.get(name, 0) for name, count in now.items()}
            if what == "threads" and sum(now.values()) <= sum(was.values()) + POOL_THREADS:
                continue
            left += [f"{count} more of {what}: {name}" for name, count in more.items() if count > 0]
        return left


@dataclass
class Watched:
    """A running `parakeetd serve`."""

    process: subprocess.Popen[str]
    told_in: Path
    address: str = ""
    said: list[str] = field(default_factory=list)
    """Lines on stderr."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> Alive:
        """Ask it what is alive in it."""
        self.told_in.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        patience = time.monotonic() + TELL_SECONDS
        while not self.told_in.exists():
            if time.monotonic() > patience or self.process.poll() is not None:
                raise RuntimeError(f"the daemon does not answer; it said last: {self.said[-5:]}")
            time.sleep(0.02)
        told = json.loads(self.told_in.read_text())
        root = Path(f"/proc/{self.pid}")
        threads: Counter[str] = Counter()
        for task in (root / "task").iterdir():
            with suppress(OSError):
                threads[(task / "comm").read_text().strip()] += 1
        files: Counter[str] = Counter()
        for link in (root / "fd").iterdir():
            with suppress(OSError):
                files[str(link.readlink()).partition(":[")[0]] += 1
        return Alive(
            told["tasks"],
            dict(threads),
            dict(files),
            resident_mb(self.pid),
            dict(told["objects"]),
        )

    def settled(self, before: Alive, seconds: float) -> Alive:
        """What is alive when nothing is left over, or after so many seconds."""
        patience = time.monotonic() + seconds
        while (now := self.alive()).left_over(before) and time.monotonic() < patience:
            time.sleep(0.5)
        return now

    def errors(self) -> list[str]:
        """Lines of its log that say that it made a mistake."""
        words = ("ERROR", "CRITICAL", "Traceback", "exception was never", "Unexpected", "never awaited")
        return [line for line in self.said if any(word in line for word in words)]

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_SECONDS)


@contextmanager
def watched(
    *arguments: str,
    config: str = "",
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Watched]:
    """`parakeetd serve` with these arguments and this configuration on a free port, in a home of its own; killed at the
    end when it has not ended.

    Args:
        environment: added to one of a user who has nothing.
        prefix: a command that runs a command.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="parakeetd-watched-") as home:
        told_in = Path(home, "alive.json")
        file = Path(home, "config.toml")
        file.write_text(config)
        command = [*prefix, sys.executable, str(SCRIPT), str(told_in), "serve", "--config", str(file)]
        command += ["--model", "demo", "--listen", "127.0.0.1:0", *arguments]
        env = inherited | {"HOME": home} | dict(environment or {})
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
            daemon = Watched(process, told_in)
            try:
                _read_until_ready(daemon)
                yield daemon
            finally:
                if process.poll() is None:
                    process.kill()


def _read_until_ready(daemon: Watched) -> None:
    for line in daemon.process.stderr or ():
        daemon.said.append(line.rstrip("\n"))
        if line.startswith("listening on "):
            daemon.address = line.removeprefix("listening on ").strip()
        if line.strip() == "ready":
            break
    else:
        raise RuntimeError(f"the daemon did not start: {daemon.said}")

    def read() -> None:
        # Its log must be read, or it blocks in writing.
        for line in daemon.process.stderr or ():
            daemon.said.append(line.rstrip("\n"))

    Thread(target=read, daemon=True).start()
