"""A microphone that is switched on and off, and what is said into it, told to all who watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parakeetd.dictation.events import Event, Final, Interim, Loudness, Phase, State
from parakeetd.dictation.watchers import Watcher

if TYPE_CHECKING:
    from parakeetd.dictation.switch import Dictation, Microphones

__all__ = [
    "Dictation",
    "Event",
    "Final",
    "Interim",
    "Loudness",
    "Microphones",
    "Phase",
    "State",
    "Watcher",
]


def __getattr__(name: str) -> Any:
    # Imported when first used: who only watches or switches, from another process, needs the events alone.
    if name in ("Dictation", "Microphones"):
        from parakeetd.dictation import switch

        return getattr(switch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
