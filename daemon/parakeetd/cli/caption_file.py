"""Captions in a file: what was said last, for programs such as OBS that show what is in a text file."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path
from typing import Final

from parakeetd.cli.following import Absent, Happening
from parakeetd.dictation import Final as FinalText
from parakeetd.dictation import Interim, Loudness, State
from parakeetd.errors import InputError
from parakeetd.keyboard.choice import applied

LETTERS: Final = 42
"""Of a line, as in subtitles."""

SHOWN_SECONDS: Final = 8.0
"""Captions of what was said longer ago are taken away."""


class Rolling:
    """The last lines. Each utterance begins a line, so that lines stay as they are while the next one is spoken."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._said: list[str] = []
        self._interim = ""

    def take(self, event: Happening) -> str:
        """The captions after this event."""
        match event:
            case Interim():
                self._interim = event.text
            case FinalText():
                self._interim = ""
                # A command may take back what was said before it.
                before = self._said.pop() if event.text.startswith("\b") and self._said else ""
                self._said = [*self._said, applied(before, event.text)][-self._lines :]
            case State() | Absent() | Loudness():
                pass
        texts = [*self._said, self._interim]
        wrapped = [line for text in texts for line in textwrap.wrap(text, LETTERS)]
        return "".join(f"{line}\n" for line in wrapped[-self._lines :])

    def clear(self) -> None:
        self._said, self._interim = [], ""


class CaptionFile:
    """Whoever reads the file finds whole captions at any moment: each is a file of its own that takes the name."""

    def __init__(self, path: Path, lines: int, *, shown_seconds: float = SHOWN_SECONDS) -> None:
        """Belongs to the running event loop; writes an empty file.

        Raises:
            InputError: it cannot be written.
        """
        # A link stays one.
        self._path = path.resolve()
        if self._path.exists() and not self._path.is_file():
            raise InputError(f"captions {path}: not a file")
        self._rolling = Rolling(lines)
        self._shown_seconds = shown_seconds
        self._shown: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._write("")

    def take(self, event: Happening) -> None:
        """Write what is to be read after this event.

        Raises:
            InputError: it cannot be written.
        """
        captions = self._rolling.take(event)
        if captions == self._shown:
            return
        self._write(captions)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._shown_seconds, self.clear)

    def clear(self) -> None:
        """Take the captions away."""
        if self._timer is not None:
            self._timer.cancel()
        self._rolling.clear()
        self._write("")

    def _write(self, captions: str) -> None:
        if captions == self._shown:
            return
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            new.write_text(captions, encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise InputError(
                f"captions {self._path}: cannot be written ({error.strerror or error})"
            ) from error
        self._shown = captions
