"""The parent's half: a device's engine that lives in a child process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from parakeetd.audio import Samples
from parakeetd.child.messages import ModelToOpen, PhraseLists, transcripts_of
from parakeetd.child.process import COMMAND, Process
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript

log = logging.getLogger(__name__)

OPENING_PATIENCE_SECONDS: Final = 180.0
"""Gigabytes from a slow disk, checked, and a GPU warmed up: a child that takes longer hangs."""

LOOK_PATIENCE_SECONDS: Final = 60.0
"""Loading CUDA's libraries from a slow disk."""


class ChildHome:
    """A process that begins with `open` and ends with `close`. Is its own engine meanwhile."""

    def __init__(self, model: ModelToOpen, command: Sequence[str] = COMMAND) -> None:
        self._model = model
        self._command = command
        self._guard = threading.Lock()
        """Of the process, which may be killed while it is being started."""
        self._process: Process | None = None
        self._phrases = PhraseLists()
        self._memory: int | None = 0

    def open(self) -> ChildHome:
        """Start the process and have it open the model.

        Raises:
            DeviceError, BundleError: it cannot.
        """
        self.close()
        begun = time.monotonic()
        with self._guard:
            process = self._process = Process(self._model.device, self._command)
        self._phrases = PhraseLists()
        process.greet(OPENING_PATIENCE_SECONDS)
        answer = process.ask({"do": "open", **self._model.fields()}, timeout=OPENING_PATIENCE_SECONDS)
        self._memory = answer["memory"]
        log.info(
            "device %s: process %d is there after %.1f s",
            self._model.device,
            process.pid or 0,
            time.monotonic() - begun,
        )
        return self

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        """As `model.recognizer.Recognizer.recognize`; waits for its answer until somebody kills it."""
        process = self._process
        if process is None:
            raise RuntimeError("a batch came before the process was started")
        fields = {
            "do": "recognize",
            "lengths": [len(samples) for samples in audio],
            **self._phrases.packed(options),
        }
        answer = process.ask(fields, audio)
        self._memory = answer["memory"]
        return transcripts_of(answer["transcripts"])

    def close(self) -> None:
        with self._guard:
            process, self._process = self._process, None
        if process is not None:
            pid = process.pid
            process.end()
            if pid is not None:
                log.info("device %s: process %d has left", self._model.device, pid)
        self._memory = 0

    def kill(self, reason: str) -> bool:
        with self._guard:
            if self._process is not None:
                self._process.kill(reason)
        return True

    @property
    def pid(self) -> int | None:
        with self._guard:
            return self._process.pid if self._process else None

    @property
    def memory_bytes(self) -> int | None:
        return self._memory if self.pid else 0


def look(command: Sequence[str] = COMMAND) -> str:
    """The GPU and its driver in words, as a process says that has tried them and is gone again.

    Raises:
        DeviceError: there is none, or it does not work.
    """
    process = Process("cuda", command)
    try:
        process.greet(LOOK_PATIENCE_SECONDS)
        return str(process.ask({"do": "look"}, timeout=LOOK_PATIENCE_SECONDS)["gpu"])
    finally:
        process.end()
