"""What `parakeetd listen` prints for programs: an object of JSON a line. Pure."""

from __future__ import annotations

import html
import json
from typing import Any, Final

from parakeetd.cli.captions import tail
from parakeetd.cli.following import Absent, Happening
from parakeetd.cli.microphone import in_words
from parakeetd.dictation import Final as FinalText
from parakeetd.dictation import Interim, Loudness, State

BAR_LETTERS: Final = 40
"""Of a text in a bar the end is shown."""


def json_line(event: Happening) -> str:
    """An event as Control has it. Without a daemon the phase is `absent`."""
    return json.dumps(_fields(event), ensure_ascii=False)


def _fields(event: Happening) -> dict[str, Any]:
    match event:
        case Absent():
            return _state(State(problem=event.problem), "absent")
        case State():
            return _state(event, event.phase)
        case Loudness():
            level = event.level
            return {"event": "level", "rms_db": round(level.rms, 1), "peak_db": round(level.peak, 1)}
        case Interim():
            stability = round(event.stability, 3)
            return {"event": "interim", "session": event.session, "text": event.text, "stability": stability}
        case FinalText():
            return {
                "event": "final",
                "session": event.session,
                "text": event.text,
                "added": event.added,
                "start": round(event.start, 3),
                "end": round(event.end, 3),
            }


def _state(state: State, phase: str) -> dict[str, Any]:
    return {
        "event": "state",
        "phase": phase,
        "session": state.session,
        "device": state.device,
        "title": state.title,
        "muted": state.muted,
        "problem": state.problem,
    }


class Waybar:
    """A custom module of Waybar's: `text` is what is said, `alt` and `class` how the microphone stands, `tooltip` the
    same in words. Waybar reads text and tooltip as Pango's markup."""

    def __init__(self) -> None:
        self._state: State | Absent = State()
        self._text = ""

    def line(self, event: Happening) -> str:
        """The module after this event."""
        match event:
            case State() | Absent():
                self._state = event
                if isinstance(event, Absent) or event.phase in ("idle", "starting"):
                    self._text = ""
            case Interim() | FinalText():
                self._text = printed(event.text)
            case Loudness():
                pass
        if isinstance(self._state, Absent):
            stands, words = "absent", self._state.problem
        else:
            muted = self._state.muted and self._state.phase == "listening"
            stands, words = "muted" if muted else self._state.phase, in_words(self._state)
        return json.dumps(
            {
                "text": html.escape(tail(self._text, BAR_LETTERS)),
                "alt": stands,
                "class": stands,
                "tooltip": html.escape(words),
            },
            ensure_ascii=False,
        )


def printed(text: str) -> str:
    """A text for people: one that begins by taking something back has backspaces, and a bar has one line."""
    return " ".join(text.replace("\b", "").split())
