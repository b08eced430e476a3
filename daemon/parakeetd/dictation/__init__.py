"""A microphone that is switched on and off, and what is said into it, told to all who watch."""

from __future__ import annotations

from parakeetd.dictation.events import Event, Final, Interim, Loudness, Phase, State
from parakeetd.dictation.switch import Dictation, Microphones
from parakeetd.dictation.watchers import Watcher

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
