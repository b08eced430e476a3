"""`parakeetd`, watched from within: `python watched_daemon.py FILE ARGUMENTS...` is `parakeetd ARGUMENTS...`, and at
each SIGUSR1 it writes to FILE what is alive in it.

With `PARAKEETD_SLOW_DISK=SECONDS:FLAG:FOLDER:...` in the environment every file in these folders takes so long to be
opened, made, renamed or removed, in the thread that does it, as on a disk that does not keep up; while the file FLAG is
there. With `PARAKEETD_STAND_IN=KIND` there is a GPU's child process, as in `stand_in_daemon.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from parakeetd.cli import main
from stand_in_daemon import stand_in

_FILE_EVENTS = frozenset(
    {"open", "os.mkdir", "os.rename", "os.remove", "os.listdir", "os.scandir", "tempfile.mkstemp"}
)


def report(file: Path) -> None:
    """Write what is alive now: the name of each task's coroutine, threads of Python's, kinds of objects."""
    gc.collect()
    tasks = Counter(
        getattr(task.get_coro(), "__qualname__", repr(task))
        for task in asyncio.all_tasks()
        if not task.done()
    )
    told = {
        "tasks": tasks,
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "objects": Counter(type(item).__qualname__ for item in gc.get_objects()).most_common(40),
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(told))
    part.replace(file)


def slow_down(seconds: float, flag: str, folders: tuple[str, ...]) -> None:
    """While the file `flag` is there, files in these folders take their time."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FILE_EVENTS and str(arguments[0]).startswith(folders) and os.path.exists(flag):  # noqa: PTH110
            time.sleep(seconds)

    sys.addaudithook(hook)


if __name__ == "__main__":
    told_in = Path(sys.argv.pop(1))

    def tell(_number: int, _frame: FrameType | None) -> None:
        report(told_in)

    signal.signal(signal.SIGUSR1, tell)
    if slow := os.environ.get("PARAKEETD_SLOW_DISK"):
        delay, flag, *where = slow.split(":")
        slow_down(float(delay), flag, tuple(where))
    if kind := os.environ.get("PARAKEETD_STAND_IN"):
        stand_in(kind)
    main()
