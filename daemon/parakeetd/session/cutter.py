"""A stream of samples in, segments of samples out: detector, segmenter and the audio they still need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.session.tape import Tape
from parakeetd.vad import Confirmer, NothingIsDoubted, Segmentation, Segmenter, Span, SpeechDetector
from parakeetd.vad.levels import levels_db


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stream that is recognised as one."""

    start: float
    """Seconds from the beginning of the stream."""
    samples: Samples
    """Mono, 16 kHz."""
    final: bool = True
    """False for the beginning of a segment that is still being spoken."""
    seam_before: float | None = None
    """Where a segment that was too long was cut, in seconds of the stream: words before it are the one before's."""
    seam_after: float | None = None
    """Likewise: words from here on are the next one's."""

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


MAX_TOGETHER = SAMPLE_RATE * 6 // 10
"""Samples that may wait to be judged together: for a half or a third of the time that messages of 100 ms take alone.
More would save little, and keep other streams waiting."""


class Cutter:
    """Cuts one stream. Not thread-safe."""

    def __init__(
        self,
        detector: SpeechDetector,
        segmentation: Segmentation,
        confirmer: Confirmer | None = None,
        *,
        shown: bool = True,
    ) -> None:
        """
        Args:
            confirmer: what must agree with the detector; None: nothing.
            shown: whether somebody looks at the open segment while it is spoken. Otherwise what comes is judged when
                something may follow from it and not before: segments are completed, and pending, no later for that.
        """
        self.ends_early = segmentation.early_end_ms > 0
        """Whether segments may end early: `may_end_early`."""
        self._at_once = shown or self.ends_early
        self._judge_at = 0
        """Length of the stream, in samples, before which it need not be judged."""
        self._detector = detector
        self._confirmer = confirmer or NothingIsDoubted()
        self._frame = detector.frame_samples
        self._segmenter = Segmenter(
            segmentation,
            frame_ms=self._frame * 1000 // SAMPLE_RATE,
            hangover=detector.hangover_frames,
        )
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
        if self._tape.end < self._judge_at:
            return []
        segments = [self._segment(span) for span in self._judge(padded=False)]
        self._tape.drop_before(min(self._segmenter.keep_from * self._frame, self._judged))
        if not self._at_once:
            self._judge_at = min(self._segmenter.news_at * self._frame, self._judged + MAX_TOGETHER)
        return segments

    def finish(self) -> list[Segment]:
        """The stream is over: the segments that were still open."""
        spans = list(self._judge(padded=True))
        if (last := self._segmenter.finish(confirmed=self._confirmer.finish())) is not None:
            spans.append(last)
        return [self._segment(span) for span in spans]

    def open_segment(self, since: float = 0.0) -> Segment | None:
        """The segment that is being spoken, so far; not final. None while it may be noise.

        Args:
            since: without what comes before this time of the stream, in seconds.
        """
        span = self._segmenter.open_span
        if span is None:
            return None
        first = max(span.start, min(round(since * SAMPLE_RATE) // self._frame, span.end))
        return self._segment(replace(span, start=first), final=False)

    @property
    def open_start(self) -> float | None:
        """Where the open segment begins, in seconds; None when there is none, or it may be noise."""
        span = self._segmenter.open_span
        return None if span is None else self._seconds(span.start)

    @property
    def pending(self) -> tuple[float, float] | None:
        """Start and end, in seconds, that the open segment will have if no speech follows; None when that is not known
        yet."""
        span = self._segmenter.pending_span
        return None if span is None else (self._seconds(span.start), self._seconds(span.end))

    def pending_segment(self) -> Segment | None:
        """The segment that the open one will be if no speech follows: these very samples."""
        span = self._segmenter.pending_span
        return None if span is None else self._segment(span)

    @property
    def first_pass(self) -> bool:
        """Whether the open segment has had the silence of the first pass."""
        return self._segmenter.first_pass

    @property
    def may_end_early(self) -> bool:
        """Whether the open segment has had the silence that ends one whose text has settled."""
        return self._segmenter.may_end_early

    def end(self) -> Segment | None:
        """End the open segment now."""
        span = self._segmenter.end()
        return None if span is None else self._segment(span)

    def _judge(self, *, padded: bool) -> Iterator[Span]:
        left = self._tape.end - self._judged
        count = (left + (self._frame - 1 if padded else 0)) // self._frame
        if not count:
            return
        samples = self._tape.view(self._judged, self._judged + count * self._frame)
        if len(samples) < count * self._frame:
            samples = np.pad(samples, (0, count * self._frame - len(samples)))
        self._judged += count * self._frame
        # All frames of a message together: each step costs little more for five frames than for one.
        frames = samples.reshape(count, self._frame)
        heard = self._detector.are_speech(frames)
        verdicts = self._confirmer.judge(frames, heard)
        for verdict, level, one in zip(verdicts, levels_db(frames), heard, strict=True):
            span = self._segmenter.push(verdict.possible, level, confirmed=verdict.confirmed, heard=one)
            if span is not None:
                yield span

    def _segment(self, span: Span, *, final: bool = True) -> Segment:
        samples = self._tape.view(span.start * self._frame, span.end * self._frame).copy()
        seams = [
            None if seam is None else self._seconds(seam) for seam in (span.seam_before, span.seam_after)
        ]
        return Segment(self._seconds(span.start), samples, final, *seams)

    def _seconds(self, frame: int) -> float:
        return frame * self._frame / SAMPLE_RATE
