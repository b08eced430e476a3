"""Where a device's engine lives: in this process, or in one of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from parakeetd import memory
from parakeetd.audio import Samples
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript


class Engine(Protocol):
    """What recognises: `parakeetd.model.recognizer.Recognizer`, its other half in a child process, or a fake."""

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        """Transcripts of a batch of pieces of 16 kHz mono samples, in their order, each decoded by its options."""
        ...


@runtime_checkable
class Home(Protocol):
    """Opens a device's engine and ends it. `kill` may be called from any thread, the others by one at a time."""

    def open(self) -> Engine:
        """
        Raises:
            DeviceError, BundleError: it cannot be opened.
        """
        ...

    def close(self) -> None:
        """The engine is gone with all its memory when this returns; no matter if there is none, or if it failed.
        Whoever had it has let go of it."""
        ...

    def kill(self, reason: str) -> bool:
        """End the engine at once, whatever it does: its run raises DeviceError with this reason. `close` is still to
        be called.

        Returns:
            False where that is impossible, and a run that hangs goes on hanging.
        """
        ...

    @property
    def pid(self) -> int | None:
        """The engine's own process, while it lives in one."""
        ...

    @property
    def memory_bytes(self) -> int | None:
        """Memory that it holds on its device, 0 when it is closed; None when that is not known."""
        ...


Opener = Callable[[], Engine] | Home
"""Where an engine lives, or just how to open it in this process."""


class InProcess:
    """A home for an engine in this process, where threads that hang cannot be ended."""

    pid: int | None = None
    memory_bytes: int | None = None

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open_engine = open_engine

    def open(self) -> Engine:
        return self._open_engine()

    def close(self) -> None:
        # The engine went when the last one let go of it.
        memory.give_back()

    def kill(self, reason: str) -> bool:
        return False


def has_died(home: Home) -> bool:
    """Whether the process of an engine that was opened is gone, which nobody hears of while it has nothing to do."""
    return home.pid is None and home.memory_bytes == 0


def home_of(opener: Opener) -> Home:
    return opener if isinstance(opener, Home) and not isinstance(opener, type) else InProcess(opener)
