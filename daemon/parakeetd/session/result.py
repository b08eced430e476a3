"""What a session answers for each segment."""

from __future__ import annotations

from dataclasses import dataclass

from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing import Routed
from parakeetd.session.cutter import Segment


@dataclass(frozen=True, slots=True)
class Result:
    """A recognised segment. All times are seconds from the beginning of the stream."""

    start: float
    end: float
    transcript: Transcript
    device: Device
    is_final: bool = True
    stability: float = 1.0
    """Estimate that this text will not change, 0 to 1; 1 for finals."""
    audio_seconds: float = 0.0
    """Audio of the stream that had been taken in when the segment was cut."""

    @property
    def text(self) -> str:
        return self.transcript.text


INTERIM_STABILITY = 0.1
"""An interim is a fresh hypothesis of the whole open segment, and any word of it may still change."""


def result_of(segment: Segment, routed: Routed, audio_seconds: float) -> Result:
    """The result of a segment, its words' times moved into the stream."""
    return Result(
        segment.start,
        segment.end,
        routed.transcript.shifted(segment.start),
        routed.device,
        segment.final,
        1.0 if segment.final else INTERIM_STABILITY,
        audio_seconds,
    )
