"""What a session answers for each segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing import Routed
from parakeetd.session.cutter import Segment
from parakeetd.session.words import Seams


@dataclass(frozen=True, slots=True)
class Result:
    """A recognised segment. All times are seconds from the beginning of the stream."""

    start: float
    end: float
    transcript: Transcript
    device: Device | Literal["remote"]
    """`remote`: one of another machine's, which does not tell."""
    is_final: bool = True
    stability: float = 1.0
    """Share of the words, from the first on, that later interims will not take back; 1 for finals, and for a first
    pass, which tells the whole text before the segment has ended."""
    audio_seconds: float = 0.0
    """Audio of the stream that had been taken in when the segment was cut."""
    latency_seconds: float = 0.0
    """Of a final: from when its segment's end was known to this result."""

    @property
    def text(self) -> str:
        return self.transcript.text


def final_result(segment: Segment, routed: Routed, audio_seconds: float, seams: Seams) -> Result:
    """The result of a segment, its words' times moved into the stream. Of each stream in the order of its segments."""
    transcript = seams.take(
        routed.transcript.shifted(segment.start),
        seam_before=segment.seam_before,
        seam_after=segment.seam_after,
    )
    start = segment.start if segment.seam_before is None else segment.seam_before
    end = segment.end if segment.seam_after is None else segment.seam_after
    return Result(start, end, transcript, routed.device, audio_seconds=audio_seconds)
