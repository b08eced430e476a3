"""The child's half: opens a model, answers what it is asked, and dies with its parent."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from parakeetd import __version__
from parakeetd.audio import Samples
from parakeetd.child import frames
from parakeetd.child.messages import ModelToOpen, PhraseLists, error_fields, transcripts_fields
from parakeetd.errors import BundleError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript

_DIE_WITH_PARENT: Final = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

FIRST_TO_GO: Final = 500
"""Of -1000 (never) to 1000: as if it had half of all memory beside its own."""

MEMORY_EVERY_SECONDS: Final = 1.0
"""How often the device's memory is asked for, at most: the driver takes a moment to answer."""


class Engine(Protocol):
    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /
    ) -> list[Transcript]: ...


def open_model(model: ModelToOpen) -> Engine:
    """The recognizer that a process is asked for.

    Raises:
        BundleError, DeviceError: it cannot be opened, or another model lies there by now.
    """
    # Imported when it is needed: it takes most of the time that the process takes to begin.
    from parakeetd.model.bundle import MANIFEST, Bundle, sha256
    from parakeetd.model.recognizer import Recognizer

    bundle = Bundle.read(model.bundle)
    if sha256(bundle.path / MANIFEST) != model.manifest_sha256:
        raise BundleError(bundle.path, "it was replaced after the daemon had read it; reload the daemon")
    if model.decoding:
        bundle = bundle.decoded_as({model.device: model.decoding})
    return Recognizer.open(bundle, device=model.device, threads=model.threads, precision=model.precision)


def look_at_gpu() -> str:
    """
    Raises:
        DeviceError: there is no GPU, or it does not work.
    """
    from parakeetd.measure.driver import installed_driver
    from parakeetd.measure.machine import hardware
    from parakeetd.model.sessions import probe

    probe("cuda")
    return hardware(installed_driver())


def gpu_memory() -> int | None:
    """Bytes that this process holds on GPUs; None where the driver does not tell."""
    from parakeetd.measure.driver import memory_of_process

    return memory_of_process(os.getpid())


def main(
    arguments: Sequence[str],
    *,
    open_engine: Callable[[ModelToOpen], Engine] = open_model,
    look: Callable[[], str] = look_at_gpu,
    memory: Callable[[], int | None] = gpu_memory,
) -> None:
    """Serve until the parent closes the line; the process ends here.

    Args:
        arguments: number of the socket's descriptor, the parent's process, the level to log from.
        open_engine, look, memory: what stands in for the GPU in tests.
    """
    descriptor, parent, level = arguments
    _die_with(int(parent))
    _be_the_first_to_go()
    # Signals of a terminal or a service manager are for the daemon, which says when its child is to leave.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(stream=sys.stderr, level=level, format="%(message)s")
    logging.getLogger().handlers[0].setFormatter(_Prefixed())
    with socket.socket(fileno=int(descriptor)) as line:
        _serve(line, open_engine, look, memory)
    sys.stderr.flush()
    # Without what libraries do at exit: the kernel clears away more thoroughly, and nothing can hang.
    os._exit(0)


def _serve(
    line: socket.socket,
    open_engine: Callable[[ModelToOpen], Engine],
    look: Callable[[], str],
    memory: Callable[[], int | None],
) -> None:
    engine: Engine | None = None
    phrases = PhraseLists()
    measured = _Seldom(memory)
    try:
        frames.send(line, {"version": __version__})
        while True:
            request = frames.receive(line)
            fields = dict(request.fields)
            try:
                match fields.pop("do"):
                    case "look":
                        answer: Mapping[str, Any] = {"gpu": look()}
                    case "open":
                        engine = open_engine(ModelToOpen.of(fields))
                        answer = {"memory": measured()}
                    case "recognize" if engine is not None:
                        options = phrases.unpacked(fields)
                        pieces = np.split(request.samples, np.cumsum(fields["lengths"][:-1]))
                        transcripts = engine.recognize(pieces, options)
                        answer = {"transcripts": transcripts_fields(transcripts), "memory": measured()}
                    case other:
                        raise frames.FrameError(f"cannot do {other!r}")
            except Exception as error:
                logging.getLogger(__name__).debug("a request failed", exc_info=True)
                answer = error_fields(error)
            frames.send(line, answer)
    except frames.Ended:
        return


class _Seldom:
    """What a function said, asked again when that is old."""

    def __init__(self, ask: Callable[[], int | None]) -> None:
        self._ask = ask
        self._known: int | None = None
        self._asked = float("-inf")

    def __call__(self) -> int | None:
        if time.monotonic() - self._asked >= MEMORY_EVERY_SECONDS:
            self._known, self._asked = self._ask(), time.monotonic()
        return self._known


class _Prefixed(logging.Formatter):
    """The level before each line, as sd-daemon(3) has it."""

    def format(self, record: logging.LogRecord) -> str:
        level = 3 if record.levelno >= logging.ERROR else 4 if record.levelno >= logging.WARNING else 6
        level = 7 if record.levelno < logging.INFO else level
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        # It has died already.
        os._exit(0)


def _be_the_first_to_go() -> None:
    """Where memory runs out, the kernel shall take this process, which is replaced, and not the daemon."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO))
