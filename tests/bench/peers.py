"""Same weights, same audio, one run: parakeetd against onnx-asr, sherpa-onnx and NeMo.

    python tests/bench/peers.py 0.6b|110m|1.1b|FILE.nemo [--folder DIR] [--lengths 3,10,20] [--threads 2] [--budget 60]

Each engine has a process of its own, with the same number of threads; one computes, the others wait. int8 first, then
float32, so that one precision's models are in memory at a time. A size means the published architecture with random
weights, made to speak like a trained model (`spread.py`); what each engine reads is made by `peers_models.py`, into
--folder, where it is found again the next time.

Prints medians, tokens, memory, load times, and where our time goes; writes them to `results/`. Exit code 1 when a bar
is missed: int8 1.6 x as fast as the fastest peer's int8 (1.4 x at up to 3 s), float32 1.15 x, in int8 at most 8 % of
the time in decoding and 3 % in features. With --print nothing is written and the exit code is 0.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

from measuring import ROOT, available_mb, machine, results_file, write_results
from spread import cut, recordings
from standings import OURS, PRECISIONS, STAGES, Measured, bars
from turns import Engine, EngineFailed, one_round, rounds_within

PIECES = 3
"""Different pieces of each length; round after round takes the next one."""


@dataclass(frozen=True)
class Contender:
    """One row of the table."""

    name: str
    engine: str
    """As `peers_engine.py` calls it."""
    files: str
    """What it reads, relative to the folder of models."""
    python: str
    """The option that names its environment."""
    precisions: tuple[str, ...] = PRECISIONS
    is_peer: bool = True
    """False: shown, and not what we are measured against."""


CONTENDERS = (
    Contender(OURS, "ours", "models/peer", "ours", is_peer=False),
    Contender("onnx-asr", "onnx-asr", "onnx-asr", "onnx_asr"),
    Contender("onnx-asr, our bundle", "onnx-asr", "models/peer", "onnx_asr", is_peer=False),
    Contender("sherpa-onnx", "sherpa", "sherpa", "sherpa"),
    Contender("NeMo", "nemo", "model.nemo", "convert", precisions=("fp32",)),
)

ENVIRONMENTS = {
    "ours": ".venv/bin/python",
    "onnx_asr": ".venv-onnx-asr/bin/python",
    "sherpa": ".venv-sherpa/bin/python",
    "convert": ".venv-convert/bin/python",
}
"""As `make` sets them up, below the repository."""


def measure(
    precision: str, contenders: Sequence[Contender], run: Run, audio: Mapping[str, Sequence[Path]]
) -> list[Measured]:
    """Load the engines of a precision one after the other, let them take turns, end them."""
    with ExitStack() as stack:
        engines = []
        for contender in contenders:
            if precision in contender.precisions:
                try:
                    engine = run.start(contender, precision)
                except EngineFailed as error:
                    print(f"left out: {error}", flush=True)
                    continue
                stack.callback(engine.close)
                engines.append((contender, engine))
        rows = {
            engine.name: Measured(
                engine.name,
                precision,
                contender.is_peer,
                engine.ready["load_seconds"],
                engine.ready["versions"],
            )
            for contender, engine in engines
        }
        tokens = dict.fromkeys(rows, 0)
        running = [engine for _, engine in engines]
        for length, files in audio.items():
            # Not counted: the first run of a shape plans its memory. Its answers are what each engine hears.
            round_seconds = 0.0
            for number, file in enumerate(files):
                for name, answer in one_round(running, {"file": str(file)}, number).items():
                    tokens[name] += answer["tokens"]
                    rows[name].texts.append(answer["text"])
                    round_seconds += answer["seconds"] / len(files)
            rounds = rounds_within(run.budget_seconds, round_seconds)
            print(
                f"{precision}, {length} s: {rounds} rounds of {round_seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )
            for number in range(rounds):
                answers = one_round(running, {"file": str(files[number % len(files)])}, number)
                for name, answer in answers.items():
                    rows[name].seconds.setdefault(length, []).append(answer["seconds"])
                    for stage, seconds in answer.get("stages", {}).items():
                        rows[name].stages.setdefault(length, {}).setdefault(stage, []).append(seconds)
        heard_seconds = sum(float(length) * len(files) for length, files in audio.items())
        for engine in running:
            row = rows[engine.name]
            row.resident_mb, row.idle_share = engine.resident_mb(), engine.idle.share
            row.tokens_per_second = tokens[engine.name] / heard_seconds
        return list(rows.values())


@dataclass(frozen=True)
class Run:
    """Where things are, and how long to measure."""

    folder: Path
    pythons: Mapping[str, Path]
    threads: int
    budget_seconds: float

    def start(self, contender: Contender, precision: str) -> Engine:
        python = self.pythons[contender.python]
        if not python.is_file():
            raise EngineFailed(f"{contender.name}: {python} is missing; `make peers` sets it up")
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        engine = Path(__file__).with_name("peers_engine.py")
        files = self.folder / contender.files
        arguments = [contender.engine, str(files), precision, str(self.threads)]
        # One number of threads for all: these are for libraries that do not ask us.
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return Engine(
            contender.name,
            [str(python), str(engine), *arguments],
            logs / f"{contender.name.replace(', ', '-').replace(' ', '-')}-{precision}.log",
            {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
            | threads,
        )


def table(measured: Sequence[Measured], lengths: Sequence[str]) -> Iterator[str]:
    """Markdown."""
    heads = [f"{length} s" for length in lengths]
    yield f"| engine | precision | {' | '.join(heads)} | tokens/s | memory | load | idle |"
    yield f"|---|---|{'---|' * len(heads)}---|---|---|---|"
    for row in measured:
        ours = next(item for item in measured if item.precision == row.precision)
        cells = [f"{1e3 * row.median(n):.0f} ms, {row.median(n) / ours.median(n):.2f} x" for n in lengths]
        yield (
            f"| {row.engine} | {row.precision} | {' | '.join(cells)} | {row.tokens_per_second:.1f} "
            f"| {row.resident_mb:.0f} MB | {row.load_seconds:.1f} s | {100 * row.idle_share:.1f} % |"
        )
    yield ""
    yield "Medians; `x`: as long as the first row of the precision. Memory is resident, mapped files included."
    yield "Idle: of a core, while other engines computed."
    yield ""
    yield f"| where our time goes | {' | '.join(STAGES)} |"
    yield f"|---|{'---|' * len(STAGES)}"
    for row in measured:
        for length in row.stages:
            shares = [f"{100 * row.share(length, stage):.1f} %" for stage in STAGES]
            yield f"| {row.precision}, {length} s | {' | '.join(shares)} |"


def write_audio(folder: Path, lengths: Sequence[str], speech: Path | None) -> dict[str, list[Path]]:
    """The pieces as files of samples, by length."""
    folder.mkdir(exist_ok=True)
    spoken = recordings(speech)
    written: dict[str, list[Path]] = {}
    for length in lengths:
        for number, piece in enumerate(cut(spoken, float(length), PIECES)):
            file = folder / f"{length}s-{number}.npy"
            np.save(file, piece)
            written.setdefault(length, []).append(file)
    return written


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="SIZE|FILE.nemo")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keeps what is made; 10 GB for 0.6b")
    parser.add_argument("--lengths", default="3,10,20", help="of the audio, in seconds")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument(
        "--only", default="", metavar="NAMES", help="engines to measure beside ours, such as onnx-asr"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--budget", type=float, default=60.0, help="seconds of rounds per length and precision"
    )
    parser.add_argument("--speech", type=Path, metavar="DIR", help="recordings instead of the shipped clips")
    results_go = parser.add_mutually_exclusive_group()
    results_go.add_argument(
        "--output", type=Path, metavar="FILE.json", help="default: results/DATE-MACHINE-peers-MODEL.json"
    )
    results_go.add_argument("--print", action="store_true", help="write no results, exit with 0")
    for option, python in ENVIRONMENTS.items():
        flag = f"--{option.replace('_', '-')}"
        parser.add_argument(flag, type=Path, default=ROOT / python, metavar="PYTHON", dest=f"python_{option}")
    arguments = parser.parse_args()
    where = machine()
    with ExitStack() as stack:
        folder = arguments.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="parakeetd-peers-"))
        )
        pythons = {option: getattr(arguments, f"python_{option}") for option in ENVIRONMENTS}
        speech = ["--speech", str(arguments.speech)] if arguments.speech else []
        maker = Path(__file__).with_name("peers_models.py")
        subprocess.run(
            [str(pythons["convert"]), str(maker), arguments.model, str(folder), *speech], check=True
        )
        lengths = arguments.lengths.split(",")
        audio = write_audio(folder / "audio", lengths, arguments.speech)
        wanted = [name.strip().lower() for name in arguments.only.split(",") if name.strip()]
        contenders = [c for c in CONTENDERS if not wanted or c.name == OURS or c.name.lower() in wanted]
        run = Run(folder, pythons, arguments.threads, arguments.budget)
        name = Path(arguments.model).name.removesuffix(".nemo")
        print(
            f"{name}, {arguments.threads} threads; {', '.join(f'{key} {value}' for key, value in where.items())}"
        )
        measured = []
        for precision in arguments.precisions.split(","):
            measured += measure(precision, contenders, run, audio)
    for line in table(measured, lengths):
        print(line)
    judged = bars(measured)
    for bar in judged:
        print(f"{'held  ' if bar.held else 'MISSED'} {bar.text}")
    if arguments.print:
        return 0
    results = {
        "machine": where
        | {"load after": f"{os.getloadavg()[0]:.1f}", "available MB": f"{available_mb():.0f}"},
        "model": name,
        "threads": arguments.threads,
        "measured": [asdict(row) for row in measured],
        "bars": [asdict(bar) for bar in judged],
    }
    today = datetime.datetime.now().astimezone().date()
    print(write_results(arguments.output or results_file(f"peers-{name}", where, today), results))
    return int(not all(bar.held for bar in judged))


if __name__ == "__main__":
    sys.exit(main())
