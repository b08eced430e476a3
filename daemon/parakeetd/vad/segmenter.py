"""Where segments begin and end, decided from speech flags and levels alone.

A pure state machine: frames go in, spans of frames come out. It knows neither audio, clocks nor models.

A segment opens when speech is possible and counts once some of it is confirmed, however late: it then begins where it
was possible first. One that ends without confirmation was noise.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from parakeetd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Segmentation:
    """How a stream is cut. Milliseconds and shares."""

    pre_roll_ms: int = 300
    """Audio kept from before the first speech frame: soft consonants come before what a detector calls speech."""
    onset_ms: int = 60
    """Speech within `onset_window_ms` that opens a segment: a click is shorter."""
    onset_window_ms: int = 200
    end_silence_ms: int = 800
    """Silence that ends a segment, counted from the end of speech: what the detector adds to it counts as silence."""
    end_threshold: float = 1.0
    """Share of the last `end_silence_ms` that must be silent for that, above 0."""
    eou_silence_ms: int = 0
    """The same for a first pass, which tells what has been said before the segment ends; 0: none."""
    eou_threshold: float = 1.0
    early_end_ms: int = 0
    """Silence that ends a segment already when its text has settled; 0: never."""
    trailing_pad_ms: int = 600
    """Audio kept after the last speech frame; at least `LEAD_MS` less than the silence that ends the segment."""
    max_segment_ms: int = 20_000
    """Longest segment. A longer one is cut at its longest pause, or where it is quietest."""
    overlap_ms: int = 1_500
    """Audio beyond the cut that both parts get when it may go through a word, at most a quarter of `max_segment_ms`."""

    def __post_init__(self) -> None:
        for name in ("pre_roll_ms", "trailing_pad_ms"):
            if not 0 <= getattr(self, name) <= 5_000:
                raise ConfigError(f"segmentation.{name} must be 0 to 5000 ms, not {getattr(self, name)}")
        if not 0 < self.onset_ms <= self.onset_window_ms <= 2_000:
            raise ConfigError(
                "segmentation.onset_ms must be above 0 and at most onset_window_ms, which is at most 2000 ms; "
                f"not {self.onset_ms} and {self.onset_window_ms}"
            )
        if not 100 <= self.end_silence_ms <= 10_000:
            raise ConfigError(
                f"segmentation.end_silence_ms must be 100 to 10000 ms, not {self.end_silence_ms}"
            )
        for name in ("eou_silence_ms", "early_end_ms", "overlap_ms"):
            if not 0 <= getattr(self, name) <= 10_000:
                raise ConfigError(f"segmentation.{name} must be 0 to 10000 ms, not {getattr(self, name)}")
        for name in ("end_threshold", "eou_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(
                    f"segmentation.{name} must be above 0 and at most 1, not {getattr(self, name)}"
                )
        if not 2_000 <= self.max_segment_ms <= 300_000:
            raise ConfigError(
                f"segmentation.max_segment_ms must be 2000 to 300000 ms, not {self.max_segment_ms}"
            )


LOOK_BACK_MS = 1_000
"""Audio before the pre-roll that a segment keeps while it waits for confirmation: soft words may come before a clear
one, but music may go on for an hour."""


LEAD_MS = 100
"""From what a segment will be is known until it ends: time to recognise it ahead."""

SEAM_PAUSE_MS = 300
"""A cut in a pause of this length goes through no word."""


@dataclass(frozen=True, slots=True)
class Span:
    """Frames `start` (included) to `end` (not included), counted from the beginning of the stream."""

    start: int
    end: int
    seam_before: int | None = None
    """Frame where a segment that was too long was cut: words before it belong to the span before."""
    seam_after: int | None = None
    """Likewise: words from here on belong to the next span."""


DOUBT_MS = 200
"""How long something may have been heard before it is taken for possible speech."""


class _Frame(NamedTuple):
    speech: bool
    level_db: float
    confirmed: bool


class Segmenter:
    """Cuts one stream into spans that miss no speech frame of an opened segment, and overlap at seams only."""

    def __init__(self, settings: Segmentation, frame_ms: int, *, hangover: int = 0) -> None:
        """
        Args:
            hangover: frames for which the detector goes on to say speech after speech has ended.
        """

        def frames(milliseconds: int) -> int:
            return math.ceil(milliseconds / frame_ms)

        self._pre_roll = frames(settings.pre_roll_ms)
        self._onset = frames(settings.onset_ms)
        self._hangover = hangover
        self._end = (frames(settings.end_silence_ms), settings.end_threshold)
        self._eou = (frames(settings.eou_silence_ms), settings.eou_threshold)
        self._early_end = frames(settings.early_end_ms)
        first = min(silence for silence in (self._end[0], self._eou[0], self._early_end) if silence)
        self._trailing_pad = max(0, min(frames(settings.trailing_pad_ms), first - hangover - frames(LEAD_MS)))
        self._max = frames(settings.max_segment_ms)
        self._overlap = min(frames(settings.overlap_ms), self._max // 4)
        self._seam_pause = frames(SEAM_PAUSE_MS)
        self._look_back = min(frames(LOOK_BACK_MS) + self._pre_roll, self._max)
        self._now = 0
        self._free_from = 0
        """No span may start before this frame: the end of the last one."""
        self._recent: deque[_Frame] = deque(maxlen=frames(settings.onset_window_ms))
        self._heard: deque[bool] = deque(maxlen=frames(settings.onset_window_ms + DOUBT_MS))
        self._start: int | None = None
        self._history: list[_Frame] = []
        """Frames of the open segment, from its start."""
        self._confirmed = False
        """Whether the open segment holds confirmed speech."""
        self._speech_end = 0
        """Frame after the last speech frame of the open segment."""
        self._speech_start = 0
        """Its first speech frame."""
        self._seam: int | None = None
        """Where the open segment was cut off from the one before."""

    @property
    def open_span(self) -> Span | None:
        """The segment that is being spoken, so far; None until it is confirmed."""
        if self._start is None or not self._confirmed:
            return None
        return Span(self._start, self._now, self._seam)

    @property
    def pending_span(self) -> Span | None:
        """The span that the open segment will be if no speech follows; None when that is not known yet."""
        if self._start is None or not self._confirmed or self._speech_end <= self._spoken_from(self._start):
            return None
        if self._now - self._speech_end < max(1, self._trailing_pad):
            return None
        return Span(self._start, self._speech_end + self._trailing_pad, self._seam)

    @property
    def silence(self) -> int:
        """Frames since the end of speech in the open segment; 0 while there is speech."""
        if self._start is None or self._now == self._speech_end:
            return 0
        return self._now - self._speech_end + self._hangover

    @property
    def first_pass(self) -> bool:
        """Whether the open segment has had the silence of the first pass."""
        return self._start is not None and self._eou[0] > 0 and self._silent(*self._eou)

    @property
    def may_end_early(self) -> bool:
        """Whether the open segment has had the silence that ends one whose text has settled."""
        return 0 < self._early_end <= self.silence

    def end(self) -> Span | None:
        """End the open segment now."""
        return None if self._start is None else self._close(self._start)

    @property
    def news_at(self) -> int:
        """Length of the stream, in frames, at which at the earliest `push` completes a span or `pending_span` changes,
        whatever the frames until then hold."""
        soonest = self._now + 1
        silence = max(1, self._trailing_pad)
        if self._end[1] < 1:
            # A share of silence may be reached at once.
            return soonest
        if self._start is None:
            pause = soonest + silence
        elif self._now - self._speech_end < silence:
            pause = self._speech_end + silence
        else:
            return soonest
        return max(soonest, min(pause, self.keep_from + self._max))

    @property
    def keep_from(self) -> int:
        """First frame that a later span may contain; audio before it can be dropped."""
        if self._start is not None:
            return self._start
        window = self._heard.maxlen or 0
        return max(self._free_from, self._now - window - self._pre_roll)

    def push(
        self, speech: bool, level_db: float, *, confirmed: bool = True, heard: bool | None = None
    ) -> Span | None:
        """Take the next frame; answer the span that it completes, if any.

        Args:
            speech: the frame may be speech.
            heard: the detector alone takes it for speech; as `speech` when not given. A segment begins where something
                was heard first: doubts take time to go away.
            level_db: level of the frame, any reference; only compared with other frames.
            confirmed: there is, or was just now, speech beyond doubt.
        """
        self._now += 1
        frame = _Frame(speech, level_db, confirmed)
        if self._start is None:
            self._heard.append(speech if heard is None else heard)
            self._recent.append(frame)
            if speech and sum(recent.speech for recent in self._recent) >= self._onset:
                self._open()
            return None
        self._history.append(frame)
        self._confirmed = self._confirmed or frame.confirmed
        if speech:
            self._speech_end = self._now
        elif self._silent(*self._end):
            return self._close(self._start)
        if not self._confirmed and self._now - self._start > self._look_back:
            self._start += 1
            del self._history[0]
            return None
        if self._now - self._start >= self._max:
            return self._split(self._start)
        return None

    def finish(self, *, confirmed: bool = True) -> Span | None:
        """The stream is over: the span of what is still open. Speech too short to open a segment yet counts."""
        recent = sum(frame.speech for frame in self._recent)
        if self._start is None and recent and recent * 2 >= self._onset:
            self._open()
        self._confirmed = self._confirmed or confirmed
        return None if self._start is None else self._close(self._start)

    def _open(self) -> None:
        speech = [frame.speech for frame in self._recent]
        first_speech = self._now - len(speech) + speech.index(True)
        last_speech = self._now - 1 - speech[::-1].index(True)
        first_heard = self._now - len(self._heard) + [*self._heard, True].index(True)
        self._start = max(self._free_from, min(first_heard, first_speech) - self._pre_roll, 0)
        self._speech_start = max(self._start, first_speech)
        self._speech_end = last_speech + 1
        # Levels before the onset are not kept: a split never falls into them.
        before = self._now - self._start - len(self._recent)
        self._history = [_Frame(False, math.inf, False)] * max(0, before)
        self._history += [frame._replace(level_db=math.inf) for frame in self._recent][
            -(self._now - self._start) :
        ]
        self._confirmed = any(frame.confirmed for frame in self._recent)
        self._recent.clear()
        self._heard.clear()

    def _silent(self, window: int, threshold: float) -> bool:
        """Whether this share of the last `window` frames has been silent, this one included. Silence that the detector
        took for speech lies before it."""
        needed = max(1, math.ceil(threshold * window) - self._hangover)
        silent = self._now - self._speech_end
        if silent == 0 or silent >= needed or threshold == 1:
            return silent >= needed
        spoken = self._now - max(self._speech_start, self._start or 0)
        last = self._history[-min(spoken, window - self._hangover) :]
        return sum(not frame.speech for frame in last) >= needed

    def _close(self, start: int) -> Span | None:
        spoken = self._speech_end > self._spoken_from(start)
        seam, self._seam = self._seam, None
        self._start = None
        self._history = []
        if not self._confirmed:
            return None
        end = min(self._now, self._speech_end + self._trailing_pad)
        # After a split in its last pause a segment may hold no speech at all.
        self._free_from = max(self._free_from, start, end)
        return Span(start, end, seam) if spoken else None

    def _spoken_from(self, start: int) -> int:
        return start if self._seam is None else self._seam

    def _split(self, start: int) -> Span:
        """Cut the open segment in two; the second part stays open."""
        frames = [(frame.speech, frame.level_db) for frame in self._history]
        cut = split_point(frames[: len(frames) - self._overlap])
        self._confirmed = any(frame.confirmed for frame in self._history[cut:])
        seam, self._free_from = self._seam, start + cut
        if self._speech_end <= start + cut or pause_length(frames, cut) >= self._seam_pause:
            self._start, self._seam = start + cut, None
            self._history = self._history[cut:]
            return Span(start, start + cut, seam)
        second = max(0, cut - self._overlap)
        self._start, self._seam = start + second, start + cut
        self._history = self._history[second:]
        return Span(start, min(self._now, start + cut + self._overlap), seam, start + cut)


def pause_length(frames: list[tuple[bool, float]], at: int) -> int:
    """Frames without speech on both sides of the beginning of frame `at`."""
    first, last = at, at
    while first > 0 and not frames[first - 1][0]:
        first -= 1
    while last < len(frames) and not frames[last][0]:
        last += 1
    return last - first


def split_point(frames: list[tuple[bool, float]]) -> int:
    """Where to cut frames (speech, level) of a segment that became too long: index of the second part's first frame.

    The middle of the longest pause in the second half, the later of equals; without any, the quietest frame there.
    Both parts are never empty.
    """
    half = max(1, len(frames) // 2)
    best_length, best_middle, run = 0, 0, 0
    for i in range(half, len(frames)):
        run = 0 if frames[i][0] else run + 1
        if run and run >= best_length:
            best_length, best_middle = run, i + 1 - run // 2
    # One unvoiced frame may be a stop consonant inside a word; two are a pause as often as not.
    if best_length >= 2:
        return min(max(best_middle, 1), len(frames) - 1)
    quietest = min(range(half, len(frames)), key=lambda i: frames[i][1])
    return min(max(quietest, 1), len(frames) - 1)
