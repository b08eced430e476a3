"""Feeds a target with damaged input in a process of its own: `python fuzz_worker.py TARGET FIRST LAST SEED PROGRESS`.

Prints what was found as JSON. Which case is at work stands in the file PROGRESS, so that whoever started this knows
which one killed it; a case that takes too long ends the process with a traceback.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import logging
import mmap
import os
import struct
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fuzz_targets import target
from measuring import resident_mb

HANG_SECONDS = 60.0
"""No case takes a second on an idle machine."""

WARM = 0.1
"""Of the cases: memory is read after them for the first time, when caches and pools have their size."""


@dataclass
class Found:
    cases: int = 0
    taken: int = 0
    """Of which the input was good enough to be used."""
    errors: list[tuple[int, str]] = field(default_factory=list)
    """Case and what was raised that must not be."""
    mb_before: float = 0.0
    mb_after: float = 0.0


def run(name: str, first: int, last: int, seed: int, progress: Path) -> Found:
    found = Found()
    subject = target(name)
    # Warnings of damaged input are what is expected.
    logging.disable(logging.WARNING)
    warm = first + max(1, round(WARM * (last - first)))
    with progress.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        for number in range(first, last):
            if number == warm:
                found.mb_before = settled_mb()
            shared[:8] = struct.pack("<q", number)
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            try:
                found.taken += subject.holds(subject.case(number, seed))
            except Exception as error:
                found.errors.append((number, f"{type(error).__name__}: {error}"[:500]))
            found.cases += 1
        faulthandler.cancel_dump_traceback_later()
    found.mb_after = settled_mb()
    return found


def settled_mb() -> float:
    """Resident memory after what is not needed was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident_mb(os.getpid())


if __name__ == "__main__":
    name, first, last, seed, progress = sys.argv[1:]
    json.dump(asdict(run(name, int(first), int(last), int(seed), Path(progress))), sys.stdout)
