"""What `parakeetd listen` shows: finals that scroll, and below them the interim, the level and the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from parakeetd.audio.level import FLOOR_DB, Level
from parakeetd.cli.following import Absent, Happening
from parakeetd.cli.microphone import in_words
from parakeetd.dictation import Final, Interim, Loudness, State

METER_WIDTH = 24
METER_FROM_DB = -60.0
"""The left end of the meter: below it is what a quiet room sounds like."""

LOUD_DB = -3.0
"""Peaks above this are about to be cut off."""

INTERIM_LINES = 4
"""Of an interim that is longer, its end is shown."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Captions:
    """Takes events as they come. Without a terminal only finals are printed, a line each."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._state = State()
        self._level = Level()
        self._interim = ""
        self._absent = ""

    def show(self, event: Happening) -> None:
        match event:
            case State():
                self._state = event
                self._level = Level()
                self._absent = ""
            case Absent():
                self._absent = event.problem
                self._state, self._interim = State(), ""
                if self._live is None:
                    click.echo(f"{event.problem}; waiting for it", err=True)
            case Loudness():
                self._level = event.level
            case Interim():
                self._interim = event.text
            case Final():
                self._interim = ""
                self._print(event.text)
        if self._live is not None:
            self._live.update(self._below(self._live.console.width), refresh=True)

    def _print(self, text: str) -> None:
        # What a spoken command takes back has scrolled away.
        text = text.replace("\b", "")
        if not text.strip():
            return
        if self._live is None:
            click.echo(text)
        else:
            self._live.console.print(Text(text))

    def _below(self, width: int) -> Group:
        interim = Text(tail(self._interim, width * INTERIM_LINES), style="dim italic")
        listening = self._state.phase == "listening"
        bar = Text(
            meter(self._level.rms if listening else FLOOR_DB),
            style="red" if self._level.peak > LOUD_DB else "green",
        )
        status = Text(
            f" {self._absent or in_words(self._state)}",
            style="yellow" if self._absent or self._state.phase == "interrupted" or self._state.muted else "",
            overflow="ellipsis",
            no_wrap=True,
        )
        return Group(*([interim] if interim.plain else []), Text.assemble("[", bar, "]", status))


@contextmanager
def captions() -> Iterator[Callable[[Happening], None]]:
    """Captions on the terminal, or in a pipe."""
    console = Console()
    if not console.is_terminal:
        yield Captions(None).show
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Captions(live).show


def meter(db: float) -> str:
    """A bar of `METER_WIDTH` signs."""
    share = min(1.0, max(0.0, (db - METER_FROM_DB) / -METER_FROM_DB))
    eighths = round(share * METER_WIDTH * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if full < METER_WIDTH else "")).ljust(METER_WIDTH)


def tail(text: str, letters: int) -> str:
    """The end of a text that is longer, beginning with a whole word."""
    if len(text) <= letters:
        return text
    return "…" + text[-letters + 1 :].partition(" ")[2]
