"""Compare the times of words with NeMo's own, in milliseconds, and look whether they are in order and in the audio.

    python tests/bench/word_times.py DIR --nemo FILE.nemo [--only an4 --only digits]      needs the convert extra

DIR is a folder as for parity.py. Each recording is recognised by NeMo (`transcribe(timestamps=True)`) and by us, once
whole and once cut at pauses, where times run over all segments. Words are compared in recordings of which both made the
same text.

Exit code 1 when, in whole recordings, any start or end is further than 100 ms from NeMo's; when, cut at pauses, the
95th percentile is; or when a word is out of order or outside its recording.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import parakeetd
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.file import read_audio
from parakeetd.model.transcript import Word

BAR_MS = 100.0
LONGEST_SECONDS = 20.0
"""Longer recordings are left out: NeMo would hear them whole, we cut them."""


@dataclass(slots=True)
class Differences:
    """Ours minus NeMo's, in milliseconds, and what else was counted."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    words: int = 0
    """Words of ours."""
    misplaced: int = 0
    """Words of ours before the one before them, or outside the recording."""

    def compare(self, ours: Sequence[Word], nemos: Sequence[Word], seconds: float) -> None:
        self.words += len(ours)
        before = 0.0
        for word in ours:
            self.misplaced += not before <= word.start <= word.end <= seconds
            before = word.end
        # Words that are not the same have no times to compare, and their neighbours may be one another's.
        if [word.text for word in ours] != [word.text for word in nemos]:
            return
        for our, nemo in zip(ours, nemos, strict=True):
            self.starts.append(1000 * (our.start - nemo.start))
            self.ends.append(1000 * (our.end - nemo.end))

    def line(self, name: str) -> str:
        shown = []
        for differences in (self.starts, self.ends):
            size = np.abs(differences) if differences else np.zeros(1)
            shown += [f"{x:7.0f}" for x in (np.median(size), np.percentile(size, 95), size.max())]
        return f"{name:16} {self.words:6} {len(self.starts):9} {' '.join(shown)} {self.misplaced:10}"

    def within(self, *, percentile: float) -> bool:
        size = np.abs(self.starts + self.ends)
        return bool(len(size)) and float(np.percentile(size, percentile)) <= BAR_MS and not self.misplaced


class NemoWords:
    """NeMo's words of one recording."""

    def __init__(self, file: Path) -> None:
        from parakeetd_convert.nemo import load_nemo
        from parakeetd_convert.toolchain import load_toolchain

        load_toolchain(chatty=False)
        self._model: Any = load_nemo(file).model

    def __call__(self, samples: Any) -> list[Word]:
        settings = self._model.get_transcribe_config()
        settings.batch_size, settings.verbose, settings.return_hypotheses = 1, False, True
        settings.timestamps = True
        # Otherwise NeMo puts silence around clips shorter than a second, and its times count from there.
        settings.pad_min_duration = 0.0
        [hypothesis] = self._model.transcribe([samples], override_config=settings, timestamps=True)
        listed = hypothesis.timestamp["word"]
        return [Word(word["word"].strip(), word["start"], word["end"], 0.0) for word in listed]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--nemo", type=Path, required=True, metavar="FILE.nemo")
    parser.add_argument("--model", default="demo", help="installed bundle made of it (default: demo)")
    parser.add_argument("--models", type=Path, help="folder of bundles")
    parser.add_argument("--only", action="append", metavar="PREFIX", help="only files whose path begins so")
    arguments = parser.parse_args()

    rows = [
        json.loads(line) for line in (arguments.folder / "manifest.jsonl").read_text("utf-8").splitlines()
    ]
    wanted = tuple(arguments.only or [""])
    files = [arguments.folder / row["file"] for row in rows if row["file"].startswith(wanted)]
    nemo = NemoWords(arguments.nemo)
    found: dict[str, Differences] = {"whole": Differences(), "cut at pauses": Differences()}
    with parakeetd.load(arguments.model, models=arguments.models, device="cpu") as model:
        for file in track([file for file in files if file.is_file()], "comparing", transient=True):
            samples = read_audio(file)
            seconds = len(samples) / SAMPLE_RATE
            if seconds > LONGEST_SECONDS:
                continue
            nemos = nemo(samples)
            for name, vad in (("whole", "off"), ("cut at pauses", "webrtc")):
                answer = model.transcribe(samples, vad="off" if vad == "off" else "webrtc")
                ours = [word for segment in answer.segments for word in segment.transcript.words]
                found[name].compare(ours, nemos, seconds)
    print(f"{'':16} {'':6} {'':9} {'start: median, P95, max':^23} {'end: median, P95, max':^23}")
    print(f"{'recordings':16} {'words':>6} {'compared':>9} {'(ms)':^23} {'(ms)':^23} {'misplaced':>10}")
    for name, differences in found.items():
        print(differences.line(name))
    good = found["whole"].within(percentile=100) and found["cut at pauses"].within(percentile=95)
    print(f"{'within' if good else 'NOT within'} {BAR_MS:.0f} ms of NeMo's")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
