"""Compare parakeetd's text with NeMo's on a folder of recordings, and count the word errors of both.

    python tests/bench/parity.py DIR --served [PACE]       word errors through the real server, against the recordings
                                                           as a whole
    python tests/bench/parity.py DIR --nemo FILE.nemo      NeMo decodes here (needs the convert extra); tokens and
                                                           their times are compared too
    python tests/bench/parity.py DIR --nemo FOLDER         NeMo's texts from FOLDER/*.jsonl: {"file", "hyp"} a line

DIR holds manifest.jsonl with one row a file: {"file": path below DIR, "transcript": text}. A row without a
transcript is compared with NeMo and not counted in the word error rate. Long recordings are measured piece by piece
when a file NAME.segments.json lies beside NAME.flac: [{"start", "end", "transcript"}] or [[start, end, transcript]].

With --decoding, --batch or --precision the recognizer is asked directly, whole recordings in batches as they come,
by exactly this form of the decoder; what only the daemon's way through it does (cutting at pauses) is left out.

With --served each recording of `an4/test`, `digits` and `longform/an4_digits.flac` is a stream of its own to `parakeetd
serve`, eight at a time, in messages of 100 ms at PACE times the speed of speech (1 when not given, 13 minutes; 0: as
fast as the daemon takes it). What the finals say is compared with the recordings recognised whole, the long one
utterance by utterance.

Exit code 1 when more than 1 in 100 texts differ from NeMo's, or when streaming has more than 0.3 points more word
errors in one of the three sets; fewer are no fault.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jiwer
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import parakeetd
from live_load import daemon
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.file import read_audio
from parakeetd.config import Paths
from parakeetd.model.bundle import PRECISIONS, find_bundle
from parakeetd.model.forms import FORMS, Decoding
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.transcript import Token, Transcript
from streamed_words import Bar, stream_all

SERVED = ("an4/test", "digits", "longform/an4_digits.flac")
"""What is streamed: folders, and a long recording."""

MAX_DIFFERENT = 0.01
"""Share of texts that may differ from NeMo's: two float32 runtimes can disagree where two tokens score the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recording and what was made of it. `None` for what does not exist."""

    folder: str
    file: str
    reference: str | None
    nemo: str | None
    ours: str
    ours_vad: str | None


def words(text: str) -> str:
    """Lower case, letters, digits and apostrophes only: what two transcripts are compared by."""
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower()).split())


def wer(pairs: Iterable[tuple[str, str]]) -> float | None:
    """Word error rate in percent of (reference, hypothesis) pairs; None without any reference word."""
    kept = [(words(reference), words(hypothesis)) for reference, hypothesis in pairs if words(reference)]
    if not kept:
        return None
    return 100.0 * float(jiwer.wer([r for r, _ in kept], [h for _, h in kept]))


def stored_nemo(folder: Path) -> dict[str, str]:
    """NeMo's texts by base name of the recording."""
    texts = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            texts[row["file"]] = row["hyp"]
    return texts


class LiveNemo:
    """NeMo itself: its greedy decoding of one recording, with token ids and encoder frames."""

    def __init__(self, file: Path) -> None:
        from parakeetd_convert.nemo import load_nemo
        from parakeetd_convert.toolchain import load_toolchain

        load_toolchain(chatty=False)
        self._model: Any = load_nemo(file).model

    def __call__(self, samples: Any) -> tuple[str, list[int], list[int]]:
        settings = self._model.get_transcribe_config()
        settings.batch_size, settings.verbose, settings.return_hypotheses = 1, False, True
        # Otherwise NeMo puts silence around clips shorter than a second, and its times count from there.
        settings.pad_min_duration = 0.0
        hypothesis = self._model.transcribe([samples], override_config=settings)[0]
        if isinstance(hypothesis, list):
            hypothesis = hypothesis[0]
        return (
            hypothesis.text,
            [int(i) for i in hypothesis.y_sequence],
            [int(t) for t in hypothesis.timestamp],
        )


def report(rows: Sequence[Row]) -> None:
    """Print a table of the folders and the total."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.folder].append(row)
    print(f"{'folder':16} {'files':>6} {'= NeMo':>8} {'WER NeMo':>9} {'WER':>7} {'WER with VAD':>13}")
    for name, group in [*sorted(groups.items()), ("all", list(rows))]:
        compared = [row for row in group if row.nemo is not None]
        equal = sum(row.nemo == row.ours for row in compared)
        rates = [
            wer((row.reference, row.nemo) for row in compared if row.reference and row.nemo is not None),
            wer((row.reference, row.ours) for row in group if row.reference),
            wer((row.reference, row.ours_vad) for row in group if row.reference and row.ours_vad is not None),
        ]
        shown = [
            f"{'-' if rate is None else format(rate, '.2f'):>{n}}"
            for rate, n in zip(rates, (9, 7, 13), strict=True)
        ]
        print(f"{name:16} {len(group):6} {f'{equal}/{len(compared)}':>8} {' '.join(shown)}")


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of one recording."""

    text: str
    tokens: tuple[Token, ...]
    seconds: float
    text_vad: str | None


def by_the_library(files: Sequence[Path], model: parakeetd.Model) -> Iterator[Heard]:
    """Each recording as a user transcribes it, without and with a voice detector."""
    for file in files:
        ours = model.transcribe(file, vad="off")
        tokens = tuple(token for segment in ours.segments for token in segment.transcript.tokens)
        yield Heard(ours.text, tokens, ours.audio_seconds, model.transcribe(file).text)


def by_the_recognizer(files: Sequence[Path], recognizer: Recognizer, batch: int) -> Iterator[Heard]:
    """Whole recordings, so many at once, in their order: short and long ones share a batch."""
    for first in range(0, len(files), batch):
        audio = [read_audio(file) for file in files[first : first + batch]]
        transcripts: list[Transcript] = recognizer.recognize(audio)
        for samples, transcript in zip(audio, transcripts, strict=True):
            yield Heard(transcript.text, transcript.tokens, len(samples) / SAMPLE_RATE, None)


@dataclass(frozen=True, slots=True)
class Alone:
    """The utterances of a long recording, each recognised by itself."""

    audio: Path
    count: int
    reference: str
    text: str

    @property
    def wer(self) -> float | None:
        return wer([(self.reference, self.text)])


def alone(listing: Path, model: parakeetd.Model) -> Alone:
    """What a model makes of each utterance of a list `NAME.segments.json`."""
    audio = listing.with_name(listing.name.replace(".segments.json", ".flac"))
    pieces = json.loads(listing.read_text(encoding="utf-8"))
    if not isinstance(pieces[0], dict):
        pieces = [{"start": start, "end": end, "transcript": text} for start, end, text in pieces]
    samples = read_audio(audio)
    texts = [
        model.transcribe(samples[int(p["start"] * SAMPLE_RATE) : int(p["end"] * SAMPLE_RATE)], vad="off").text
        for p in pieces
    ]
    return Alone(audio, len(pieces), " ".join(p["transcript"] for p in pieces), " ".join(texts))


def long_recordings(folder: Path, model: parakeetd.Model) -> None:
    """Print, for each recording with a list of segments, WER of the segments alone and of the whole with VAD."""
    for listing in sorted(folder.rglob("*.segments.json")):
        pieces = alone(listing, model)
        whole = model.transcribe(pieces.audio)
        print(
            f"{pieces.audio.relative_to(folder)}: {pieces.count} utterances, {whole.audio_seconds:.0f} s; "
            f"WER of the utterances alone {pieces.wer:.2f}, "
            f"of the whole recording with VAD {wer([(pieces.reference, whole.text)]):.2f} "
            f"({len(whole.segments)} segments)"
        )


def served(arguments: argparse.Namespace, manifest: Sequence[dict[str, Any]]) -> int:
    """Print word errors through the server beside those of whole recordings; the exit code."""
    folder: Path = arguments.folder
    groups = {
        name: [
            (folder / row["file"], row["transcript"])
            for row in manifest
            if (row["file"] == name or str(Path(row["file"]).parent) == name)
            and (folder / row["file"]).is_file()
        ]
        for name in SERVED
    }
    files = [file for group in groups.values() for file, _ in group]
    if not files:
        print(f"{folder} has none of {', '.join(SERVED)}", file=sys.stderr)
        return 2
    options = ["--model", arguments.model, "--device", "cpu"]
    options += ["--models", str(arguments.models)] if arguments.models else []
    with daemon(*options) as (address, _):
        streamed = stream_all(address, files, pace=arguments.served, streams=arguments.streams)
    bars = []
    with parakeetd.load(arguments.model, models=arguments.models, device="cpu") as model:
        for name, group in groups.items():
            listing = (folder / name).with_suffix(".segments.json")
            if listing.is_file():
                # Its transcript is that of the utterances, in order.
                pieces = alone(listing, model)
                whole, said = pieces.wer, [(pieces.reference, streamed.texts[file]) for file, _ in group]
            else:
                whole = wer((text, model.transcribe(file, vad="off").text) for file, text in group if text)
                said = [(text, streamed.texts[file]) for file, text in group if text]
            bars.append(Bar(name, whole, wer(said)))
            print(bars[-1])
    print(f"messages left late by {1000 * streamed.late_p99:.0f} ms (P99)")
    if arguments.json:
        result = {
            "pace": arguments.served,
            "late_p99": streamed.late_p99,
            "sets": [asdict(bar) for bar in bars],
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(not all(bar.held for bar in bars))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--nemo", type=Path, metavar="FILE.nemo|FOLDER")
    parser.add_argument("--model", default="demo", help="installed bundle (default: demo)")
    parser.add_argument("--models", type=Path, help="folder of bundles")
    parser.add_argument(
        "--decoding", choices=FORMS, help="this form of the decoder (default: the bundle's choice)"
    )
    parser.add_argument("--look-ahead", type=int, default=4, metavar="K", help="frames of --decoding steps")
    parser.add_argument("--batch", type=int, metavar="N", help="so many recordings at once (default: 1)")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: the fastest on a CPU")
    parser.add_argument("--only", default="", metavar="PREFIX", help="only files whose path begins so")
    parser.add_argument("--show", action="store_true", help="print each text that differs from NeMo's")
    parser.add_argument(
        "--served",
        nargs="?",
        const=1.0,
        type=float,
        metavar="PACE",
        help="word errors through the real server",
    )
    parser.add_argument("--streams", type=int, default=8, metavar="N", help="at a time, with --served")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of --served")
    arguments = parser.parse_args()

    manifest = [
        json.loads(line) for line in (arguments.folder / "manifest.jsonl").read_text("utf-8").splitlines()
    ]
    manifest = [row for row in manifest if row["file"].startswith(arguments.only)]
    if arguments.served is not None:
        return served(arguments, manifest)
    live = LiveNemo(arguments.nemo) if arguments.nemo and arguments.nemo.is_file() else None
    stored = stored_nemo(arguments.nemo) if arguments.nemo and live is None else {}

    listed = [
        (row, arguments.folder / row["file"])
        for row in manifest
        if (arguments.folder / row["file"]).is_file()
        and not (arguments.folder / row["file"]).with_suffix(".segments.json").is_file()
    ]
    files = [file for _, file in listed]
    model: parakeetd.Model | None = None
    rows, wrong_times = [], 0
    with ExitStack() as stack:
        if arguments.decoding or arguments.batch or arguments.precision:
            bundle = find_bundle(arguments.model, arguments.models or Paths.from_environment().models)
            recognizer = Recognizer.open(
                bundle,
                precision=arguments.precision,
                decoding=Decoding(arguments.decoding, arguments.look_ahead) if arguments.decoding else None,
            )
            answers = by_the_recognizer(files, recognizer, arguments.batch or 1)
        else:
            model = stack.enter_context(
                parakeetd.load(arguments.model, models=arguments.models, device="cpu")
            )
            answers = by_the_library(files, model)
        for (entry, file), ours in track(
            zip(listed, answers, strict=True), "comparing", total=len(files), transient=True
        ):
            nemo = stored.get(file.name)
            if live and ours.seconds <= 20:
                nemo, ids, frames = live(read_audio(file))
                wrong_times += [(t.id, t.frame) for t in ours.tokens] != list(zip(ids, frames, strict=True))
            reference = entry.get("transcript")
            folder = str(Path(entry["file"]).parent)
            rows.append(Row(folder, entry["file"], reference, nemo, ours.text, ours.text_vad))
            if arguments.show and nemo is not None and nemo != ours.text:
                print(f"{entry['file']}\n  NeMo: {nemo}\n  ours: {ours.text}")
        report(rows)
        if model is not None:
            long_recordings(arguments.folder, model)
    if live:
        print(f"token ids or times differ from NeMo's in {wrong_times} recordings")
    compared = [row for row in rows if row.nemo is not None]
    different = sum(row.nemo != row.ours for row in compared)
    return int(bool(compared) and different > MAX_DIFFERENT * len(compared))


if __name__ == "__main__":
    sys.exit(main())
