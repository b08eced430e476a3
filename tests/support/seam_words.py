"""Words at the cuts of segments that were too long: which are missing, and whether the parts had heard them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.transcript import Transcript, Word
from parakeetd.session import Segment, SessionSettings
from parakeetd.session.words import Seams, middle
from parakeetd.vad import Segmentation

NEAR_SECONDS = 0.4
"""Two hypotheses place a word no farther apart."""

IN_PLACE_SECONDS = 0.16
"""Two encoder frames: what is nearer than this is another reading of the same sound."""


@dataclass(frozen=True)
class Part:
    segment: Segment
    heard: Transcript
    """All of it, overlaps too, with times of the stream."""


def parts(recognizer: Recognizer, samples: Samples, segmentation: Segmentation) -> list[Part]:
    """Speech without pauses, cut by length alone, each part recognised by itself."""
    cutter = SessionSettings(detector="off", segmentation=segmentation).cutter()
    segments: list[Segment] = []
    for at in range(0, len(samples), SAMPLE_RATE):
        segments += cutter.feed(samples[at : at + SAMPLE_RATE])
    segments += cutter.finish()
    return [Part(item, recognizer.recognize([item.samples])[0].shifted(item.start)) for item in segments]


def joined(heard: Sequence[Part]) -> list[Word]:
    """The words of the stream, as it answers them."""
    seams = Seams()
    return [
        word
        for part in heard
        for word in seams.take(
            part.heard, seam_before=part.segment.seam_before, seam_after=part.segment.seam_after
        ).words
    ]


def right(said: Sequence[str], heard: Sequence[Word]) -> list[Word]:
    """Those of the words heard that were said."""
    blocks = SequenceMatcher(None, said, [word.text for word in heard], autojunk=False).get_matching_blocks()
    return [word for block in blocks for word in heard[block.b : block.b + block.size]]


def missing(wanted: Sequence[Word], got: Sequence[Word]) -> list[Word]:
    """Words that are not there at their time, and no other word in their place."""
    return [
        word
        for word in wanted
        if not any(
            _same(word, other) or abs(middle(word) - middle(other)) <= IN_PLACE_SECONDS for other in got
        )
    ]


def doubled(words: Sequence[Word], heard: Sequence[Part]) -> int:
    """Words that follow themselves faster than anybody speaks, although no part heard them so."""
    return _repeated(words) - min(_repeated(words), sum(_repeated(part.heard.words) for part in heard))


def _repeated(words: Sequence[Word]) -> int:
    return sum(
        one.text == other.text and other.start - one.start <= IN_PLACE_SECONDS
        for one, other in pairwise(words)
    )


def heard_by_a_part(word: Word, heard: Sequence[Part]) -> bool:
    return any(_same(word, other) for part in heard for other in part.heard.words)


def _same(one: Word, other: Word) -> bool:
    return one.text == other.text and abs(one.start - other.start) <= NEAR_SECONDS
