"""Hours in one stream: `python tests/bench/longform.py`. See README.md.

A long reading goes through one stream of `parakeetd serve`, as fast as the daemon takes it: the text must be that of
`parakeetd transcribe`, and the memory must stop growing. Then hours of it through the session code alone, without a
model: memory again. Last, short utterances without pauses between them at several maximum lengths: where segments are
cut no word may be lost that one of the parts heard. Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import jiwer
import numpy as np
import soundfile

from live_load import daemon, listen, utterances
from measuring import ROOT, machine, resident_mb
from parakeetd.audio import Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.config import Paths
from parakeetd.model.bundle import find_bundle
from parakeetd.model.recognizer import Recognizer
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.vad import Segmentation
from seam_words import Part, doubled, heard_by_a_part, joined, missing, parts, right
from speech_load import RATE, Track

GROWTH_MB = 10.0
"""Allowed between the peaks of the two halves of a run, which are of the same audio."""

LEAST_JUDGED_MS = 10_000
"""Shorter parts have little audio beside most of their words: they disagree, and one of them counts."""

MINUTE = 25
"""Utterances that make up about a minute."""


class Memory:
    """Samples of a process's resident memory while a block runs."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, float]] = []
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def growth(self) -> float:
        """MB from the peak of the first half of the time to that of the second."""
        middle = self.samples[-1][0] / 2
        first = [mb for at, mb in self.samples if at <= middle]
        second = [mb for at, mb in self.samples if at >= middle]
        return max(second) - max(first)

    def _watch(self) -> None:
        begin = time.monotonic()
        while True:
            self.samples.append((time.monotonic() - begin, resident_mb(self._pid)))
            if self._ended.wait(0.5):
                return


def through_the_server(file: Path) -> bool:
    """The file, twice over, in one stream over the real server against `parakeetd transcribe`."""
    samples = np.tile(read_audio(file), 2)
    with tempfile.TemporaryDirectory() as folder:
        twice = Path(folder, "twice.flac")
        soundfile.write(twice, samples, RATE)
        command = [sys.executable, "-m", "parakeetd.cli", "transcribe", str(twice)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    with daemon() as (address, pid), Memory(pid) as memory:
        track = Track(samples, ())
        heard = asyncio.run(listen(address, track, interim=False, chunk_seconds=0.1, pace=0.0))
    streamed = " ".join(item.text for item in heard.results if item.final).split()
    same = streamed == said
    text = "the same text" if same else f"ANOTHER TEXT than transcribe with {len(said)}"
    print(
        f"{file.name} twice: {len(samples) / RATE / 60:.1f} min in {heard.results[-1].at:.0f} s, "
        f"{len(streamed)} words, {text}; memory "
        f"{memory.samples[0][1]:.0f} to {memory.samples[-1][1]:.0f} MB, second half {memory.growth:+.1f} MB"
    )
    return same and memory.growth <= GROWTH_MB


async def through_the_session(samples: Samples, hours: float) -> int:
    """Hours of a recording through the session code; the number of results."""
    router = Router({"cpu": FakeEngine})
    sessions = Sessions((ServedModel("none", ("en-US",), router),), SessionSettings())

    async def chunks() -> AsyncIterator[Samples]:
        for at in range(0, round(hours * 3600 * RATE), RATE // 2):
            begin = at % (len(samples) - RATE // 2)
            yield samples[begin : begin + RATE // 2]

    count = 0
    async with aclosing(sessions.stream(chunks(), interim=True)) as results:
        async for _ in results:
            count += 1
    router.close(10.0)
    return count


def at_seams(pieces: list[tuple[str, Samples]], lengths_ms: list[int]) -> bool:
    """Utterances without pauses between them, cut at each maximum length, against one segment of each minute.

    Of the words that a minute in one piece has right, some are missing, with nothing in their place. That is the
    model's own where no part heard them either: it hears other words in the same samples when they begin elsewhere.
    What a part did hear was left out where the parts were joined; of that there may be nothing, and nothing doubled.
    """
    groups = [pieces[i : i + MINUTE] for i in range(0, len(pieces), MINUTE)]
    audio = [np.concatenate([samples for _, samples in group]) for group in groups]
    said = [" ".join(text for text, _ in group) for group in groups]
    good = True
    recognizer = Recognizer.open(find_bundle("demo", Paths.from_environment().models))

    def recognized(length_ms: int, overlap_ms: int) -> list[list[Part]]:
        cut = Segmentation(max_segment_ms=length_ms, overlap_ms=overlap_ms)
        return [parts(recognizer, samples, cut) for samples in audio]

    def errors(heard: list[list[Part]]) -> jiwer.WordOutput:
        return jiwer.process_words(said, [" ".join(word.text for word in joined(item)) for item in heard])

    minutes = recognized(200_000, 0)
    whole = errors(minutes)
    print(
        f"seams: {sum(map(len, audio)) / RATE:.0f} s, {whole.hits + whole.substitutions + whole.deletions} words"
    )
    print(f"  as one segment a minute     {shown(whole)}")
    known = [right(text.split(), joined(item)) for text, item in zip(said, minutes, strict=True)]
    for length in lengths_ms:
        cut = errors(recognized(length, 0))
        heard = recognized(length, Segmentation().overlap_ms)
        overlapped = errors(heard)
        lost = [
            (word, item)
            for words, item in zip(known, heard, strict=True)
            for word in missing(words, joined(item))
        ]
        joining = sum(heard_by_a_part(word, item) for word, item in lost)
        seams = sum(part.segment.seam_after is not None for item in heard for part in item)
        good &= overlapped.wer <= whole.wer + 0.01
        good &= overlapped.deletions + overlapped.insertions <= cut.deletions + cut.insertions
        twice = sum(doubled(joined(item), item) for item in heard)
        good &= length < LEAST_JUDGED_MS or (joining == 0 and twice == 0)
        print(f"  at most {length / 1000:2.0f} s, cut           {shown(cut)}")
        print(f"  at most {length / 1000:2.0f} s, overlapped    {shown(overlapped)}")
        print(
            f"    {seams} seams; of the words that a minute in one piece has right {len(lost)} are missing, "
            f"{joining} of them heard by a part; {twice} doubled"
        )
    return good


def shown(errors: jiwer.WordOutput) -> str:
    return f"{100 * errors.wer:.1f} % word errors, {errors.deletions} lost, {errors.insertions} added"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--speech", type=Path, default=os.environ.get("PARAKEETD_SPEECH", ROOT / "../shared/speech")
    )
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--only", choices=("server", "session", "seams"))
    arguments = parser.parse_args()
    speech = Path(arguments.speech)
    clips = ROOT / "daemon/parakeetd/embedded/clips"
    where = machine()
    print(f"{where['processor']}, {where['cores']} cores, load {where['load']}")
    good = True
    reading = speech / "longform/LJ001.flac"
    pieces = utterances(speech, clips)
    if arguments.only in (None, "server"):
        if reading.is_file():
            good &= through_the_server(reading)
        else:
            print(f"{reading} is not there: the long reading is left out")
    if arguments.only in (None, "session"):
        samples = np.concatenate([np.pad(piece, (0, RATE)) for _, piece in pieces[:30]])
        with Memory(os.getpid()) as memory:
            begin = time.monotonic()
            count = asyncio.run(through_the_session(samples, arguments.hours))
        print(
            f"session: {arguments.hours:g} h in {time.monotonic() - begin:.0f} s, {count} results; "
            f"memory {memory.samples[0][1]:.0f} MB, second half {memory.growth:+.1f} MB"
        )
        good &= memory.growth <= GROWTH_MB
    if arguments.only in (None, "seams"):
        good &= at_seams(pieces[: 6 * MINUTE], [4_000, 6_000, 10_000, 20_000])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
