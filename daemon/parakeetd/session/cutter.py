"""A stream of samples in, segments of samples out: detector, segmenter and the audio they still need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.session.tape import Tape
from parakeetd.vad import Confirmer, NothingIsDoubted, Segmentation, Segmenter, Span, SpeechDetector


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stream that is recognised as one."""

    start: float
    """Seconds from the beginning of the stream."""
    samples: Samples
    """Mono, 16 kHz."""
    final: bool = True
    """False for the beginning of a segment that is still being spoken."""

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


class Cutter:
    """Cuts one stream. Not thread-safe."""

    def __init__(
        self, detector: SpeechDetector, segmentation: Segmentation, confirmer: Confirmer | None = None
    ) -> None:
        """
        Args:
            confirmer: what must agree with the detector; None: nothing.
        """
        self._detector = detector
        self._confirmer = confirmer or NothingIsDoubted()
        self._frame = detector.frame_samples
        self._segmenter = Segmenter(segmentation, frame_ms=self._frame * 1000 // SAMPLE_RATE)
        self._tape = Tape()
        self._judged = 0
        """Samples of the stream that have gone through the detector."""

    @property
    def seconds(self) -> float:
        """Length of the stream so far."""
        return self._tape.end / SAMPLE_RATE

    def feed(self, samples: Samples) -> list[Segment]:
        """Take the next samples of the stream; answer the segments that they complete."""
        self._tape.append(samples)
        segments = [self._segment(span) for span in self._judge(padded=False)]
        self._tape.drop_before(min(self._segmenter.keep_from * self._frame, self._judged))
        return segments

    def finish(self) -> list[Segment]:
        """The stream is over: the segments that were still open."""
        spans = list(self._judge(padded=True))
        if (last := self._segmenter.finish()) is not None:
            spans.append(last)
        return [self._segment(span) for span in spans]

    def open_segment(self) -> Segment | None:
        """The segment that is being spoken, so far; not final. None while it may be noise."""
        span = self._segmenter.open_span
        return None if span is None else self._segment(span, final=False)

    def _judge(self, *, padded: bool) -> Iterator[Span]:
        while (left := self._tape.end - self._judged) >= (1 if padded else self._frame):
            frame = self._tape.view(self._judged, self._judged + self._frame)
            if left < self._frame:
                frame = np.pad(frame, (0, self._frame - left))
            self._judged += self._frame
            verdict = self._confirmer.judge(frame, self._detector.is_speech(frame))
            span = self._segmenter.push(verdict.possible, level_db(frame), confirmed=verdict.confirmed)
            if span is not None:
                yield span

    def _segment(self, span: Span, *, final: bool = True) -> Segment:
        first = span.start * self._frame
        samples = self._tape.view(first, span.end * self._frame).copy()
        return Segment(first / SAMPLE_RATE, samples, final)


def level_db(frame: Samples) -> float:
    """RMS level of a frame in dB below full scale, at least -120."""
    return 10 * math.log10(max(float(np.dot(frame, frame)) / len(frame), 1e-12))
