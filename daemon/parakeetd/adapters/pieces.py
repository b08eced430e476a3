"""The text of a stream as clients get it who append what comes: piece by piece, and whole at the end."""

from __future__ import annotations

from parakeetd.model.transcript import Transcript
from parakeetd.text import Pen, taken_back


class Pieces:
    """Writes one stream's finals."""

    def __init__(self, pen: Pen) -> None:
        self._pen = pen
        self._written: list[Transcript] = []

    def add(self, transcript: Transcript) -> str:
        """The next final's text, with the space before it that is due; empty when nothing is to be sent.

        A spoken command that takes something back begins it with backspaces: what was sent stays sent.
        """
        written = self._pen.write(transcript, final=True)
        if not written.text:
            return ""
        space = "" if self._pen.spaces or not self._written else " "
        self._written.append(written)
        return f"{space}{written.text}"

    @property
    def text(self) -> str:
        """All of it, what was taken back left out."""
        return whole_text(taken_back(self._written), self._pen)


def whole_text(transcripts: list[Transcript], pen: Pen) -> str:
    """The text of a recording, of what its pen wrote."""
    return ("" if pen.spaces else " ").join(transcript.text for transcript in transcripts if transcript.text)
