"""What the daemon costs as a process: time until it is ready, and memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from parakeetd.errors import ParakeetError
from parakeetd.measure.machine import resident_with_children
from parakeetd.measure.speech import clip_files
from parakeetd.rpc.client import stream_file

PATIENCE_SECONDS = 120.0
"""A daemon that is not ready by then, or does not end, is killed."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one daemon."""

    ready_seconds: float
    """From the start of the process to its line `ready`."""
    resident_ready: int
    """Bytes of RAM (RSS) when it is ready, with the process of its GPU if that is there."""
    resident_after: int
    """After it has recognised the shipped clips, all at once."""


class NotStarted(ParakeetError):
    """A daemon that was started to be measured ended instead."""


def measure_daemon(
    arguments: Sequence[str], *, command: Sequence[str] = (sys.executable, "-m", "parakeetd.cli")
) -> Footprint:
    """Start `parakeetd serve` with these arguments on a socket of its own, let it recognise, end it.

    Raises:
        NotStarted: it ended before it was ready; the message holds what it said last.
        CallFailed: it did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="parakeetd-bench-") as folder:
        address = f"unix:{folder}/bench.sock"
        # A home of its own for what it might measure and keep.
        env = os.environ | {"XDG_STATE_HOME": folder}
        begun = time.perf_counter()
        with subprocess.Popen(
            [*command, "serve", *arguments, "--listen", address],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
            watchdog.start()
            try:
                _wait_until_ready(process)
                ready = time.perf_counter() - begun
                at_ready = resident_with_children(process.pid)
                asyncio.run(_recognise(address, clip_files()))
                after = resident_with_children(process.pid)
            finally:
                process.terminate()
                process.communicate()
                watchdog.cancel()
    return Footprint(ready, at_ready, after)


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    said = ""
    for line in process.stderr or ():
        if line.strip() == "ready":
            return
        said = line.strip() or said
    raise NotStarted(f"parakeetd serve did not start: {said or 'it said nothing'}")


async def _recognise(address: str, clips: Sequence[Path]) -> None:
    async def stream(clip: Path) -> None:
        async with aclosing(stream_file(address, clip, real_time=False)) as lines:
            async for _ in lines:
                pass

    async with asyncio.TaskGroup() as group:
        for clip in clips:
            group.create_task(stream(clip))


def median_footprint(runs: int, once: Callable[[], Footprint]) -> Footprint:
    """The run with the median time until ready: of several, the first finds the disk's cache cold."""
    found = sorted((once() for _ in range(runs)), key=lambda footprint: footprint.ready_seconds)
    return found[len(found) // 2]
