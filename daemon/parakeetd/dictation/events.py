"""What watchers of the microphone are told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parakeetd.audio.level import Level
from parakeetd.audio.sources.capture import Standing

Phase = Literal["idle", "starting", "listening", "interrupted", "finishing"]
"""`finishing`: the microphone is closed, and what was said last is being recognised."""


@dataclass(frozen=True, slots=True)
class State:
    phase: Phase = "idle"
    session: int = 0
    """Counts the starts; 0 before the first."""
    device: str = ""
    """Name of the source that is recorded, or was last."""
    title: str = ""
    """The same for people."""
    muted: bool = False
    problem: str = ""
    """Why it is interrupted, or why the last session ended by itself."""


@dataclass(frozen=True, slots=True)
class Loudness:
    """Of the last moment."""

    level: Level


@dataclass(frozen=True, slots=True)
class Interim:
    """What has been recognised of an utterance that goes on. The next interim or final replaces it."""

    session: int
    text: str
    """Empty: what stood here is withdrawn."""
    stability: float = 0.0
    """Share of the words that later interims will not take back."""


@dataclass(frozen=True, slots=True)
class Final:
    """An utterance that has ended."""

    session: int
    text: str
    added: str
    """What to add to the text of the session: with the space that is due; backspaces for a command that takes back."""
    start: float
    """Seconds of recorded audio since the start of the session."""
    end: float


Event = State | Loudness | Interim | Final


def state_of(standing: Standing, session: int, *, stopping: bool) -> State:
    """The state of a session that has not ended.

    Args:
        standing: of its microphone.
        stopping: nothing more is recorded.
    """
    phase: Phase
    match standing.phase:
        case _ if stopping:
            phase = "finishing"
        case "live":
            phase = "listening"
        case "interrupted":
            phase = "interrupted"
        case _:
            phase = "starting"
    source = standing.source
    return State(
        phase,
        session,
        source.name if source else "",
        source.title if source else "",
        muted=source is not None and source.muted,
        problem=standing.problem if phase == "interrupted" else "",
    )
