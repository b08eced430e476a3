"""A daemon with a child process for its GPU, seen from outside: real, or with a stand-in where there is none."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SUPPORT = Path(__file__).parent
START_SECONDS = 120.0
"""A daemon that is not ready by then does not start."""


@dataclass
class Served:
    """A daemon that runs."""

    address: str
    pid: int
    log: list[tuple[float, str]] = field(default_factory=list)
    """When each line came, on the monotonic clock, and the line."""

    def said(self, pattern: str) -> list[float]:
        """When it said something like this."""
        return [at for at, line in list(self.log) if re.search(pattern, line)]

    def child(self) -> int | None:
        """The child process that is there now."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == self.pid and state not in "ZX":
                return int(stat.parent.name)
        return None

    def wait_for_child(self, wanted: bool, seconds: float) -> bool:
        """True when there is one, or none, within this time."""
        deadline = time.monotonic() + seconds
        while (self.child() is not None) is not wanted:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@contextmanager
def serving(*arguments: str, kind: str | None = "model", device: str = "") -> Iterator[Served]:
    """`parakeetd serve` on a free port with a home of its own; ends with the block, with status 0.

    Args:
        kind: of the stand-in; None for a real GPU.
        device: lines of the table `[device]`.
    """
    script = ["-m", "parakeetd.cli"] if kind is None else [str(SUPPORT / "stand_in_daemon.py"), kind]
    with tempfile.TemporaryDirectory(prefix="parakeetd-worker-") as home:
        config = Path(home, "config.toml")
        # A machine that stands still for a while is not what is measured.
        config.write_text(f"[limits]\nidle_seconds = 600\n[device]\n{device}\n")
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        command = [sys.executable, *script, "serve", "--config", str(config), *arguments]
        with subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0"],
            env=inherited | {"HOME": home},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            served = Served("", process.pid)
            ready: queue.Queue[bool] = queue.Queue()

            def read() -> None:
                for line in process.stderr or ():
                    served.log.append((time.monotonic(), line.rstrip()))
                    if line.startswith("listening on "):
                        served.address = line.removeprefix("listening on ").strip()
                    if line.strip() == "ready":
                        ready.put(True)
                ready.put(False)

            reading = threading.Thread(target=read, daemon=True)
            reading.start()
            try:
                if not ready.get(timeout=START_SECONDS):
                    raise SystemExit(
                        "\n".join(["parakeetd did not start", *(line for _, line in served.log)])
                    )
                yield served
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()
                reading.join()
        if process.returncode:
            raise SystemExit(f"parakeetd ended with status {process.returncode}")
