"""What the networks on a CPU keep of the memory that their runs took, and what it would be under other policies.

`python kept_memory.py POLICY LOAD [BUNDLE]` prints MB: in a process of its own, where nothing else takes memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime as ort

from parakeetd import memory
from parakeetd.audio import SAMPLE_RATE
from parakeetd.measure.machine import resident_memory
from parakeetd.model import buckets
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.recognizer import Recognizer
from parakeetd.vad.evidence import CONTEXT, WINDOW
from parakeetd.vad.silero import SileroModel

LENGTHS = range(SAMPLE_RATE // 2, round(4.5 * SAMPLE_RATE), 100)
"""Of segments, in samples."""

LONG, PIECES = 20 * SAMPLE_RATE, 8
"""A batch that few clients ever send: samples of each piece, and how many."""

WINDOWS = range(1, 600)
"""Of Silero's network, in one run."""


@dataclass(frozen=True)
class Policy:
    """None: as the daemon does it."""

    plans: bool | None = None
    """Memory is planned for each shape of input."""
    arena: bool | None = None
    """The runtime keeps blocks for the next run."""
    most_kept: int | None = None
    """A batch of more samples gives its blocks back."""

    @contextmanager
    def rules(self) -> Iterator[None]:
        """It holds for the sessions that are opened, and the batches that are run, in this block."""
        opened = ort.InferenceSession

        def open_(graph: str | bytes, options: ort.SessionOptions, **others: Any) -> ort.InferenceSession:
            if self.plans is not None:
                options.enable_mem_pattern = self.plans
            if self.arena is not None:
                options.enable_cpu_mem_arena = self.arena
            return opened(graph, options, **others)

        with ExitStack() as undo:
            undo.enter_context(patch.object(ort, "InferenceSession", open_))
            if self.most_kept is not None:
                undo.enter_context(patch.object(buckets, "MOST_KEPT", {"cpu": self.most_kept}))
            yield


POLICIES: Mapping[str, Policy] = {
    "ours": Policy(),
    "plans kept": Policy(plans=True),
    "nothing given back": Policy(most_kept=sys.maxsize),
    "all given back": Policy(most_kept=0),
    # Without blocks there are none to give back; ONNX Runtime refuses to try.
    "no arena": Policy(arena=False, most_kept=sys.maxsize),
}


def recognize(recognizer: Recognizer, pieces: int, samples: int) -> None:
    recognizer.recognize([np.zeros(samples, np.float32)] * pieces)


def kept_of_lengths(bundle: Path) -> float:
    """MB that segments of all `LENGTHS` leave."""
    recognizer = Recognizer.open(Bundle.read(bundle), device="cpu")
    recognize(recognizer, 1, 2 * SAMPLE_RATE)
    recognize(recognizer, 1, 5 * SAMPLE_RATE)
    before = _resident_mb()
    for samples in LENGTHS:
        recognize(recognizer, 1, samples)
    return _resident_mb() - before


def kept_of_a_batch(bundle: Path) -> float:
    """MB that `PIECES` of `LONG` at once leave."""
    recognizer = Recognizer.open(Bundle.read(bundle), device="cpu")
    recognize(recognizer, 1, 2 * SAMPLE_RATE)
    before = _resident_mb()
    recognize(recognizer, PIECES, LONG)
    return _resident_mb() - before


def kept_of_windows(_: Path) -> float:
    """MB that all numbers of `WINDOWS` leave."""
    model = SileroModel()

    def judge(windows: int) -> None:
        model(np.zeros((windows, CONTEXT + WINDOW), np.float32), model.silence())

    judge(WINDOWS[-1])
    before = _resident_mb()
    for windows in WINDOWS:
        judge(windows)
    return _resident_mb() - before


def _resident_mb() -> float:
    memory.give_back()
    return resident_memory() / 1e6


LOADS: Mapping[str, Callable[[Path], float]] = {
    "lengths": kept_of_lengths,
    "batch": kept_of_a_batch,
    "windows": kept_of_windows,
}


def kept_mb(policy: str, load: str, bundle: Path = EMBEDDED) -> float:
    """What one of `LOADS` leaves under one of `POLICIES`, in a new process."""
    done = subprocess.run(
        [sys.executable, __file__, policy, load, str(bundle)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return float(done.stdout)


if __name__ == "__main__":
    memory.share_arenas()
    with POLICIES[sys.argv[1]].rules():
        sys.stdout.write(f"{LOADS[sys.argv[2]](Path(sys.argv[3]))}\n")
