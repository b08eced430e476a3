"""First and last words: utterances cut tight to their sound, joined with pauses of room noise, at every setting.

    python tests/bench/edges.py [--seeds 3] [--grid] [--speech DIR] [--model NAME] [--show]

The utterances of an4/test and digits (or the shipped clips) are trimmed to the part that is within 30 dB of their
loudest, so that nothing but sound is left, and glued with 0.2 to 2 s of a room's noise: other orders and pauses with
each seed. The streams are cut and recognised as the daemon does it. Each utterance is also recognised by itself, cut
out of the same stream with 0.3, 0.45 and 0.6 s around it: what is compared with.

    clipped    utterances of which more than 20 ms, a frame, at the beginning or the end are in no segment
    margin     smallest and median length of what a segment holds before an utterance and after it, ms
    lost       first and last words of segments that are missing although every recognition by itself has a word there
    found      the reverse: what is there although no recognition by itself has it; shows how much is chance
    inner      what is lost inside segments, where one utterance follows another: none of that is cut
    doubled    words before the first and after the last that no recognition by itself has
    WER        of the streams, in percent; by itself: the mean of the three

--grid tries pre-rolls, pads, onsets, aggressiveness and thresholds of the confirmation around the defaults, each with
the same streams. Exit code 1 when with the defaults an utterance is clipped, or when more edge words are lost than
found over all seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import jiwer
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.config import Paths
from parakeetd.model.bundle import find_bundle
from parakeetd.model.recognizer import Recognizer
from parakeetd.session import Segment, SessionSettings
from parakeetd.vad import Segmentation
from utterances import SPEECH, Utterance, glued, plain, ramped, recorded, voiced_part, word_errors

PAUSES = (0.2, 2.0)
AROUND = (0.3, 0.45, 0.6)
"""Seconds around an utterance that is recognised by itself, at most half of the pause beside it."""
FRAME = 0.02
ALONE = 1.0
"""An utterance with less than this before it begins its segment, seconds; likewise at the end."""

GRID: Mapping[str, Sequence[float]] = {
    "pre_roll_ms": (0, 100, 200, 300, 400, 500),
    "trailing_pad_ms": (0, 100, 200, 400, 600),
    "onset_ms": (20, 40, 60, 100),
    "end_silence_ms": (300, 500, 800),
    "aggressiveness": (0, 1, 2, 3),
    "confirm_threshold": (0.35, 0.5, 0.65),
}


@dataclass(frozen=True)
class Stream:
    samples: Samples
    spoken: Sequence[tuple[Utterance, float, float]]
    """Utterances with their beginnings and ends in seconds."""
    alone: Sequence[Sequence[str]]
    """For each, what is recognised of it by itself."""


@dataclass
class Counts:
    clipped: int = 0
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    lost: int = 0
    found: int = 0
    inner: int = 0
    doubled: int = 0
    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def row(self) -> str:
        values = (min(self.before), median(self.before), min(self.after), median(self.after))
        margins = [1000 * value for value in values]
        return (
            f"{self.clipped:7} {margins[0]:6.0f} {margins[1]:5.0f} {margins[2]:6.0f} {margins[3]:5.0f}"
            f" {self.lost:5} {self.found:5} {self.inner:5} {self.doubled:7} {word_errors(self.said, self.heard):6.2f}"
        )


HEADER = f"{'clipped':>7} {'before':>12} {'after':>12} {'lost':>5} {'found':>5} {'inner':>5} {'doubled':>7} {'WER':>6}"


def edges(said: str, heard: str) -> tuple[bool, bool, int]:
    """Whether the first and the last word of what was said have a counterpart, right or wrong, in what was heard; words
    heard before the one and after the other."""
    if not heard:
        return False, False, 0
    chunks = jiwer.process_words(said, heard).alignments[0]
    outside = sum(
        chunk.hyp_end_idx - chunk.hyp_start_idx for chunk in (chunks[0], chunks[-1]) if chunk.type == "insert"
    )
    inner = [chunk for chunk in chunks if chunk.type != "insert"]
    return inner[0].type != "delete", inner[-1].type != "delete", outside


def make_stream(utterances: Sequence[Utterance], recognizer: Recognizer, seed: int) -> Stream:
    rng = np.random.default_rng(seed)
    order = [utterances[int(number)] for number in rng.permutation(len(utterances))]
    samples, times = glued(order, rng, PAUSES)
    spoken = [(utterance, *place) for utterance, place in zip(order, times, strict=True)]
    ends = [0.0, *(end for _, _, end in spoken)]
    starts = [*(start for _, start, _ in spoken), len(samples) / SAMPLE_RATE]
    alone = []
    for number, (_, start, end) in enumerate(spoken):
        before, after = (start - ends[number]) / 2, (starts[number + 1] - end) / 2
        pieces = [
            samples[
                round((start - min(around, before)) * SAMPLE_RATE) : round(
                    (end + min(around, after)) * SAMPLE_RATE
                )
            ]
            for around in AROUND
        ]
        alone.append([plain(transcript.text) for transcript in recognizer.recognize(pieces)])
    return Stream(samples, spoken, alone)


def measure(stream: Stream, recognizer: Recognizer, settings: SessionSettings, counts: Counts) -> None:
    """Cut and recognise a stream, and add to the counts."""
    cutter = settings.cutter()
    segments: list[Segment] = []
    for at in range(0, len(stream.samples), SAMPLE_RATE):
        segments += cutter.feed(stream.samples[at : at + SAMPLE_RATE])
    segments += cutter.finish()
    words = [
        (segment.start + (word.start + word.end) / 2, word.text)
        for segment in segments
        for word in recognizer.recognize([segment.samples])[0].words
    ]
    middles = [(start, end) for _, start, end in stream.spoken]
    heard: list[list[str]] = [[] for _ in middles]
    for moment, text in words:
        distances = [max(start - moment, moment - end, 0.0) for start, end in middles]
        heard[int(np.argmin(distances))].append(text)
    for (utterance, start, end), alone, own in zip(stream.spoken, stream.alone, heard, strict=True):
        held = [s for s in segments if s.start < end and s.end > start]
        before: float = start - held[0].start if held else start - end
        after: float = held[-1].end - end if held else start - end
        counts.before.append(before)
        counts.after.append(after)
        counts.clipped += before < -FRAME or after < -FRAME
        text = plain(" ".join(own))
        first, last, outside = edges(utterance.text, text)
        others = [edges(utterance.text, other) for other in alone]
        lost_first = not first and all(there for there, _, _ in others)
        lost_last = not last and all(there for _, there, _ in others)
        lost = (lost_first and before < ALONE) + (lost_last and after < ALONE)
        counts.lost += lost
        counts.inner += lost_first + lost_last - lost
        counts.found += (first and not any(f for f, _, _ in others)) + (
            last and not any(last_ for _, last_, _ in others)
        )
        doubled = max(0, outside - max(o for _, _, o in others))
        counts.doubled += doubled
        if lost or doubled or before < -FRAME or after < -FRAME:
            counts.shown.append(
                f"  {utterance.name} at {start:.2f} s: {1000 * before:.0f} ms before, {1000 * after:.0f} ms after\n"
                f"    said  {utterance.text}\n    heard {text}\n    alone {' | '.join(alone)}"
            )
        counts.said.append(utterance.text)
        counts.heard.append(text)


def with_setting(settings: SessionSettings, name: str, value: float) -> SessionSettings:
    changed: dict[str, Any] = {name: value if name == "confirm_threshold" else int(value)}
    if name in ("aggressiveness", "confirm_threshold"):
        return replace(settings, **changed)
    if name == "end_silence_ms":
        changed["trailing_pad_ms"] = min(settings.segmentation.trailing_pad_ms, int(value) - 200)
    return replace(settings, segmentation=replace(settings.segmentation, **changed))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="streams of all utterances (default: 3)"
    )
    parser.add_argument("--grid", action="store_true", help="try other settings too")
    parser.add_argument("--only", default="", metavar="SETTING,SETTING", help="of the grid")
    parser.add_argument("--speech", type=Path, default=SPEECH, metavar="DIR")
    parser.add_argument("--model", default="demo", help="installed bundle (default: demo)")
    parser.add_argument("--show", action="store_true", help="print what is lost, doubled or clipped")
    arguments = parser.parse_args()

    utterances = [
        replace(utterance, samples=ramped(voiced_part(utterance.samples)))
        for utterance in recorded(arguments.speech, "an4/test", "digits")
    ]
    recognizer = Recognizer.open(find_bundle(arguments.model, Paths.from_environment().models), threads=1)
    streams = [make_stream(utterances, recognizer, seed) for seed in range(1, arguments.seeds + 1)]
    whole = fmean(
        word_errors(
            [utterance.text for stream in streams for utterance, _, _ in stream.spoken],
            [alone[number] for stream in streams for alone in stream.alone],
        )
        for number in range(len(AROUND))
    )
    seconds = sum(len(stream.samples) for stream in streams) / SAMPLE_RATE
    print(
        f"{len(utterances)} utterances, {len(streams)} streams, {seconds / 60:.1f} minutes; by itself {whole:.2f} WER"
    )

    def tried(name: str, settings: SessionSettings) -> Counts:
        counts = Counts()
        for stream in streams:
            measure(stream, recognizer, settings, counts)
        print(f"{name:24} {counts.row()}", flush=True)
        return counts

    print(f"{'setting':24} {HEADER}")
    defaults = SessionSettings(segmentation=Segmentation())
    counts = tried("defaults", defaults)
    if arguments.show:
        print("\n".join(counts.shown))
    tried("without confirmation", replace(defaults, confirm="off"))
    if arguments.grid:
        for name, values in GRID.items():
            if not arguments.only or name in arguments.only.split(","):
                for value in values:
                    tried(f"{name} = {value:g}", with_setting(defaults, name, value))
    print(
        f"\nclipped: {counts.clipped} (bar: 0); first and last words: {counts.lost} lost, {counts.found} found "
        "(bar: no more lost than found)"
    )
    return int(counts.clipped > 0 or counts.lost > counts.found)


if __name__ == "__main__":
    sys.exit(main())
