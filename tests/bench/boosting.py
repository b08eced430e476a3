"""What boosting phrases does: words and names that the model gets wrong, all other words, NeMo's boosting tree, time.

    python tests/bench/boosting.py DIR                      DIR holds manifest.jsonl, as for parity.py
    python tests/bench/boosting.py DIR --nemo FILE.nemo     against NeMo's boosting tree too (needs the convert extra)

The phrases are found by the command: words, and names that are spelled out (two letters and more in a row), of which
the model gets at most half of the occurrences right and all characters of which its tokens can write. All recordings
are then recognised again with this one list.

Exit code 1 when, with the usual boost, fewer than twice as many of the phrases' occurrences are right as before, when
an utterance without any of the phrases has another text, or when a text differs from NeMo's where both leave what a
phrase began; or when a list of 1,000 phrases takes more than a tenth more time to decode.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jiwer

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.config import Paths
from parakeetd.errors import PhraseError
from parakeetd.model.biasing import Bias, Biasing
from parakeetd.model.bundle import Bundle, find_bundle
from parakeetd.model.decoding import DecodeOptions, Decoder
from parakeetd.model.forms import Decoding
from parakeetd.model.phrases import USUAL_BOOST, Boost
from parakeetd.model.recognizer import Recognizer

BATCH = 8

LONGEST_SECONDS = 20.0
"""Longer recordings are left out: they would be cut."""

ROUNDS = 30
"""Of timing."""

STEPS = Decoding("steps", 2)

MOST_EXTRA_TIME = 0.10
"""Of decoding, with 1,000 phrases."""


class LeavingAll(Biasing):
    """As NeMo: what a phrase changed is left when the phrase does not come."""

    def __call__(self, options: DecodeOptions) -> Bias | None:
        bias = super().__call__(options)
        return None if bias is None else replace(bias, takes_back=False)


@dataclass(frozen=True, slots=True)
class Clip:
    samples: Samples
    said: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a list of phrases did."""

    right: int
    """Occurrences of phrases that came out."""
    invented: int
    """Phrases that came out and were not said."""
    wer: float
    """Percent, all recordings."""
    changed: int
    """Texts that differ, of the recordings in which no phrase was said."""
    wer_of_others: float


def recordings(folder: Path, prefix: str) -> list[Clip]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    wanted = [row for row in rows if row["transcript"] and row["file"].startswith(prefix)]
    clips = [Clip(read_audio(folder / row["file"]), row["transcript"].lower()) for row in wanted]
    return [clip for clip in clips if len(clip.samples) <= LONGEST_SECONDS * SAMPLE_RATE]


def texts(
    recognizer: Recognizer, clips: Sequence[Clip], boosts: tuple[Boost, ...] = (), decoder: Decoder = "tdt"
) -> list[str]:
    options = DecodeOptions(decoder, boosts)
    found = []
    for at in range(0, len(clips), BATCH):
        batch = [clip.samples for clip in clips[at : at + BATCH]]
        found += [transcript.text for transcript in recognizer.recognize(batch, [options] * len(batch))]
    return found


def words_and_names(text: str) -> Iterator[str]:
    """The words of a text; letters that follow each other are one name, and a letter by itself is nothing."""
    letters: list[str] = []
    for word in [*text.split(), ""]:
        if len(word) == 1:
            letters.append(word)
            continue
        if len(letters) > 1:
            yield " ".join(letters)
        letters = []
        if word:
            yield word


def occurrences(phrase: str, text: str) -> int:
    return f" {text} ".replace(" ", "  ").count(f" {phrase.replace(' ', '  ')} ")


def gotten_wrong(clips: Sequence[Clip], heard: Sequence[str], biasing: Biasing) -> list[str]:
    """Phrases of which at most half of the occurrences are right and that can be spelled."""
    wrong = []
    for phrase in sorted({phrase for clip in clips for phrase in words_and_names(clip.said)}):
        said = sum(occurrences(phrase, clip.said) for clip in clips)
        if 2 * right(phrase, clips, heard) <= said:
            try:
                biasing(DecodeOptions(boosts=(Boost(phrase),)))
            except PhraseError as error:
                print(f"left out: {error}")
            else:
                wrong.append(phrase)
    return wrong


def right(phrase: str, clips: Sequence[Clip], heard: Sequence[str]) -> int:
    return sum(
        min(occurrences(phrase, clip.said), occurrences(phrase, text))
        for clip, text in zip(clips, heard, strict=True)
    )


def outcome(
    phrases: Sequence[str], clips: Sequence[Clip], plain: Sequence[str], heard: Sequence[str]
) -> Outcome:
    others = [i for i, clip in enumerate(clips) if not any(occurrences(p, clip.said) for p in phrases)]
    return Outcome(
        sum(right(phrase, clips, heard) for phrase in phrases),
        sum(
            max(0, occurrences(phrase, text) - occurrences(phrase, clip.said))
            for phrase in phrases
            for clip, text in zip(clips, heard, strict=True)
        ),
        100 * float(jiwer.wer([clip.said for clip in clips], list(heard))),
        sum(heard[i] != plain[i] for i in others),
        100 * float(jiwer.wer([clips[i].said for i in others], [heard[i] for i in others])),
    )


class NeMo:
    """NeMo's greedy TDT decoding with its boosting tree."""

    def __init__(self, file: Path) -> None:
        from parakeetd_convert.nemo import load_nemo
        from parakeetd_convert.toolchain import load_toolchain

        load_toolchain(chatty=False)
        self._model: Any = load_nemo(file).model

    def texts(self, clips: Sequence[Clip], boosts: tuple[Boost, ...]) -> list[str]:
        from omegaconf import open_dict

        decoding = self._model.cfg.decoding.copy()
        with open_dict(decoding):
            decoding.strategy = "greedy_batch"
            decoding.greedy.use_cuda_graph_decoder = False
            if boosts:
                decoding.greedy.boosting_tree = {"key_phrases_list": [boost.phrase for boost in boosts]}
                decoding.greedy.boosting_tree_alpha = boosts[0].weight
        self._model.change_decoding_strategy(decoding, verbose=False)
        settings = self._model.get_transcribe_config()
        # Batches of one: what stands beside a clip must not matter when decoders are compared.
        settings.batch_size, settings.verbose, settings.pad_min_duration = 1, False, 0.0
        answers = self._model.transcribe([clip.samples for clip in clips], override_config=settings)
        return [answer if isinstance(answer, str) else answer.text for answer in answers]


def made_up_phrases(count: int, *, spelled: bool) -> tuple[Boost, ...]:
    """Names of two or three syllables, the same each time; letter by letter, or as words."""
    generator = random.Random(5)
    syllables = [a + b + c for a in "bdfghjklmnprstvw" for b in "aeiou" for c in ("", "l", "n", "r", "s")]
    names: dict[str, None] = {}
    while len(names) < count:
        name = "".join(generator.choices(syllables, k=generator.randint(2, 3)))
        names[" ".join(name) if spelled else name] = None
    return tuple(Boost(name) for name in names)


def decoding_time(
    recognizer: Recognizer,
    biasing: Biasing,
    clips: Sequence[Clip],
    lists: Sequence[tuple[Boost, ...]],
    size: int,
) -> list[float]:
    """Least seconds of processor time to decode all recordings, in batches, with each list; they take turns."""
    batches = [clips[at : at + size] for at in range(0, len(clips), size)]
    encoded = [recognizer.encode(recognizer.features([clip.samples for clip in batch])) for batch in batches]
    times: list[list[float]] = [[] for _ in lists]
    for _ in range(ROUNDS + 1):
        for boosts, found in zip(lists, times, strict=True):
            options = DecodeOptions(boosts=boosts)
            begun = time.thread_time()
            for batch in encoded:
                # As for each segment: the tree is looked up anew.
                rows = len(batch.lengths)
                recognizer.decoders(batch, [options] * rows, [biasing(options) for _ in range(rows)])
            found.append(time.thread_time() - begun)
    # Processor time too grows with what others do to the caches, and never shrinks.
    return [min(found[1:]) for found in times]


def time_taken(
    bundle: Bundle, ours: Recognizer, biasing: Biasing, clips: Sequence[Clip], plain: Sequence[str]
) -> list[str]:
    """Print what 1,000 phrases cost; what is more than it may be."""
    lists = {
        "as words": made_up_phrases(1000, spelled=False),
        "spelled out": made_up_phrases(1000, spelled=True),
    }
    begun = time.thread_time()
    for boosts in lists.values():
        biasing(DecodeOptions(boosts=boosts))
    print(f"\ntwo lists of 1,000 made-up names are compiled in {time.thread_time() - begun:.2f} s")
    for name, boosts in lists.items():
        changed = sum(a != b for a, b in zip(plain, texts(ours, clips, boosts), strict=True))
        print(f"texts that change for the names {name}: {changed}")
    failed = []
    for size in (1, BATCH):
        ways: dict[str, Recognizer] = {"by steps": Recognizer.open(bundle, threads=1, decoding=STEPS)}
        if "steps" not in (chosen := ours.decoders.choice.for_batch(size).form):
            # The other form cannot take phrases: its place is taken by steps, too.
            ways[f"by {chosen}, with phrases by steps"] = ours
        for way, recognizer in ways.items():
            without, *others = decoding_time(recognizer, biasing, clips, [(), *lists.values()], size)
            print(
                f"decoding {way}, batches of {size}: {1000 * without:.1f} ms of processor time without phrases"
            )
            for name, seconds in zip(lists, others, strict=True):
                extra = seconds / without - 1
                print(f"   with 1,000 names {name}: {100 * extra:+.1f} %")
                if way == "by steps" and name == "as words" and extra > MOST_EXTRA_TIME:
                    failed.append(f"1,000 phrases take {100 * extra:.0f} % more time in batches of {size}")
    return failed


def show(name: str, phrases: Sequence[str], result: Outcome, said: int) -> None:
    print(
        f"{name:34} {f'{result.right}/{said}':>7} {result.invented:9} {result.wer:7.2f} "
        f"{result.wer_of_others:11.2f} {result.changed:8}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--nemo", type=Path, metavar="FILE.nemo")
    parser.add_argument("--model", default="demo", help="installed bundle (default: demo)")
    parser.add_argument("--models", type=Path, help="folder of bundles")
    parser.add_argument("--only", default="", metavar="PREFIX", help="only files whose path begins so")
    parser.add_argument("--boosts", default="1,2,4,8,20", metavar="N,...", help="default: %(default)s")
    arguments = parser.parse_args()

    bundle: Bundle = find_bundle(arguments.model, arguments.models or Paths.from_environment().models)
    biasing = Biasing.of(bundle)
    ours = Recognizer.open(bundle, threads=1, biasing=biasing)
    as_nemo = Recognizer.open(bundle, threads=1, biasing=LeavingAll.of(bundle))
    clips = recordings(arguments.folder, arguments.only)
    plain = texts(ours, clips)
    phrases = gotten_wrong(clips, plain, biasing)
    said = sum(occurrences(phrase, clip.said) for phrase in phrases for clip in clips)
    print(f"{len(clips)} recordings; {len(phrases)} words and names: {', '.join(phrases)}\n")
    print(f"{'':34} {'right':>7} {'invented':>9} {'WER':>7} {'WER others':>11} {'changed':>8}")
    before = outcome(phrases, clips, plain, plain)
    show("no phrases", phrases, before, said)

    failed = []
    nemo = NeMo(arguments.nemo) if arguments.nemo else None
    for number in map(float, arguments.boosts.split(",")):
        boosts = tuple(Boost(phrase, number) for phrase in phrases)
        heard = texts(ours, clips, boosts)
        result = outcome(phrases, clips, plain, heard)
        show(f"boost {number:g}", phrases, result, said)
        if number == USUAL_BOOST and result.right < 2 * before.right:
            failed.append("recall did not double")
        if number == USUAL_BOOST and result.changed:
            failed.append(f"{result.changed} texts without any of the phrases changed")
        left = texts(as_nemo, clips, boosts)
        show("   leaving what a phrase began", phrases, outcome(phrases, clips, plain, left), said)
        if nemo is not None:
            theirs = nemo.texts(clips, boosts)
            show(
                f"   NeMo, alpha {boosts[0].weight:g}", phrases, outcome(phrases, clips, plain, theirs), said
            )
            for clip, text, other in zip(clips, left, theirs, strict=True):
                if text != other:
                    failed.append(f"another text than NeMo's at boost {number:g}")
                    print(f"     {clip.said!r}: NeMo {other!r}, we {text!r}")
            taken_back = sum(text != other for text, other in zip(heard, theirs, strict=True))
            print(f"   texts that differ from NeMo's because something was taken back: {taken_back}")

    failed += time_taken(bundle, ours, biasing, clips, plain)
    for problem in dict.fromkeys(failed):
        print(f"failed: {problem}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
