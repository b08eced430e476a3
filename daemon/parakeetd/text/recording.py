"""Texts of a recording, whose utterances are all known before the first of them is answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from parakeetd.model.transcript import Transcript
from parakeetd.text.dictation import BACKSPACE


def taken_back(written: Iterable[Transcript]) -> list[Transcript]:
    """What a `Pen` wrote of a recording, with its backspaces done: nothing has been sent that must stay.

    Args:
        written: the finals in order.

    Returns:
        As many transcripts; those that were taken back, or were nothing but a command, are empty.
    """
    kept: list[Transcript] = []
    for transcript in written:
        text = transcript.text.lstrip(BACKSPACE)
        left = len(transcript.text) - len(text)
        at = len(kept)
        # A command takes back whole finals.
        while left > 0 and at > 0:
            at -= 1
            left -= len(kept[at].text)
            kept[at] = Transcript()
        words = tuple(word for word in transcript.words if word.text.strip(BACKSPACE))
        kept.append(replace(transcript, text=text, words=words))
    return kept
