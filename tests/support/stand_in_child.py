"""The child process of a GPU on a machine that has none: `parakeetd.child` with something else behind it.

`model` recognises on the CPU, with the model that was asked for. `fake` needs no model. What befalls a child can be had
from either: the first sample of a piece says what happens to its batch, and a signal what happens to the next one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from parakeetd.audio import Samples
from parakeetd.child.messages import ModelToOpen
from parakeetd.child.serve import Engine, main, open_model
from parakeetd.errors import AudioError, BundleError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript
from parakeetd.routing.fake import FakeEngine

HANGS, DIES, OUT_OF_MEMORY, REFUSED, BREAKS, SAYS_SOMETHING = (float(number) for number in range(2, 8))
"""First samples, which no speech has."""

MOST_SAMPLES = 40_000
"""Of a batch, padding included, that starts with `OUT_OF_MEMORY` and does fit."""

MEMORY_SIGNAL = signal.SIGUSR1
"""The next batch finds no memory, whatever it is."""

LATE_SECONDS = 8.0
"""What a GPU with a large model takes to open."""

GPU = "a stand-in for a GPU, driver for CUDA 13.0"


def command(kind: str) -> tuple[str, ...]:
    """What starts a child of a kind: `fake`, `model`, and `late`, which is `model` after a while, and those that do not
    open: `broken`, `slow`."""
    return (sys.executable, str(Path(__file__)), kind)


class Faulty:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._no_memory = False
        signal.signal(MEMORY_SIGNAL, self._take_memory)

    def _take_memory(self, *_: object) -> None:
        self._no_memory = True

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        firsts = {float(samples[0]) for samples in audio if len(samples)}
        if HANGS in firsts:
            time.sleep(3600)
        if DIES in firsts:
            os.abort()
        padded = len(audio) * max(map(len, audio))
        if self._no_memory or (OUT_OF_MEMORY in firsts and padded > MOST_SAMPLES):
            self._no_memory = False
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")
        if REFUSED in firsts:
            raise AudioError("a piece of 500 s is longer than the 400 s that the model takes at once")
        if BREAKS in firsts:
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")
        if SAYS_SOMETHING in firsts:
            os.write(1, b"[W:onnxruntime] said by a library\n")
        return self._engine.recognize(audio, options)


def _open(model: ModelToOpen) -> Engine:
    kind = sys.argv[1]
    if kind == "broken":
        raise BundleError(model.bundle, "encoder-model.onnx does not match its SHA-256 sum: it is damaged")
    if kind == "slow":
        time.sleep(3600)
    if kind == "late":
        time.sleep(LATE_SECONDS)
    if kind in ("model", "late"):
        return Faulty(open_model(replace(model, device="cpu", threads=1)))
    return Faulty(FakeEngine())


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    signal.signal(MEMORY_SIGNAL, signal.SIG_IGN)
    main(sys.argv[2:], open_engine=_open, look=lambda: GPU, memory=_resident)
