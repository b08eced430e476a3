"""Everything that needs a GPU, in one command: make models, check them, time them, find the crossover, face a peer.

    python tests/bench/gpu.py 0.6b,1.1b,110m --folder DIR [--devices cuda,cpu] [--quick]
    python tests/bench/gpu.py tests/fixtures/demo.nemo --devices cpu         # what runs without a GPU

For each model (a published size with random weights that speak, or a .nemo file):

1. what is missing in --folder is made (`peers_models.py`; needs the convert extra; bundles may be carried there);
2. texts of the shipped clips on each device and precision, alone and in a batch, against float32 on the CPU;
3. times of one segment of 0.5 to 20 s, and of batches, warm, medians; audio seconds per second (RTFx);
4. `parakeetd calibrate`: where the GPU becomes faster than the CPU, with its plot;
5. onnx-asr on the same device, taking turns with ours: float16 (on a CPU int8) against what its documentation makes.

Writes a dated page, the figures as JSON and the plots to `results/`. Exit code 1 when a device cannot be opened, when
float32 texts differ from the CPU's, or when a bar is missed on a GPU with 0.6b: 3 x onnx-asr at one utterance of 10 s,
10 x in batches, RTFx over 3,000. --unjudged: exit code 0 all the same.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

from measuring import RESULTS, ROOT, machine, results_file, write_results
from parakeetd.audio import Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import DeviceError
from parakeetd.model.bundle import EMBEDDED, Bundle, Precision
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, physical_cores
from spread import cut, recordings
from standings import gpu_bars
from turns import Engine, EngineFailed, one_round

LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 20.0)
"""Seconds of a segment."""
BATCHES: dict[Device, tuple[int, ...]] = {"cpu": (8,), "cuda": (8, 32, 64, 128)}
"""Of 10 s each."""
PEER_BATCH: dict[Device, int] = {"cpu": 4, "cuda": 32}
FASTEST: dict[Device, Precision] = {"cpu": "int8", "cuda": "fp16"}
ROUNDS = 7


@dataclass(frozen=True)
class Opened:
    """A model on a device in a precision."""

    device: Device
    precision: Precision
    recognizer: Recognizer
    open_seconds: float

    @property
    def name(self) -> str:
        return f"{self.device} {self.precision}"


def open_engines(bundle: Bundle, devices: Sequence[Device]) -> list[Opened]:
    """Every precision of the bundle on every device; int8 only on the CPU, float16 only on the GPU."""
    engines = []
    for device in devices:
        for precision in bundle.manifest.precisions:
            if (device, precision) not in (("cpu", "fp16"), ("cuda", "int8")):
                begun = time.monotonic()
                recognizer = Recognizer.open(bundle, device=device, precision=precision)
                engines.append(Opened(device, precision, recognizer, time.monotonic() - begun))
    return engines


def clips() -> list[Samples]:
    folder = EMBEDDED.parent / "clips"
    rows = [json.loads(line) for line in (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    return [read_audio(folder / row["file"]) for row in rows]


def texts(recognizer: Recognizer) -> list[str]:
    return [recognizer.recognize([samples])[0].text for samples in clips()]


def texts_together(recognizer: Recognizer) -> list[str]:
    return [transcript.text for transcript in recognizer.recognize(clips())]


def median_seconds(engine: Opened, audio: Sequence[Samples], rounds: int) -> float:
    """Time of a batch, after one run of the same shape, which plans its memory."""
    engine.recognizer.recognize(audio)
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        engine.recognizer.recognize(audio)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def gpu_state() -> str:
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.used,memory.total",
        "--format=csv,noheader",
    ]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no GPU that nvidia-smi knows"


@dataclass
class Model:
    """What is measured of one model; `figures` goes into the JSON file, the lines onto the page."""

    name: str
    folder: Path
    """As `peers_models.py` fills it."""
    devices: Sequence[Device]
    rounds: int
    figures: dict[str, Any]
    exact: bool = True
    """float32 texts are the CPU's on every device."""

    @property
    def bundle(self) -> Bundle:
        return Bundle.read(self.folder / "models/peer")

    def times(self) -> Iterator[str]:
        """Texts and times of each device and precision."""
        engines = open_engines(self.bundle, self.devices)
        reference = next(
            (item.recognizer for item in engines if item.name == "cpu fp32"),
            None,
        ) or Recognizer.open(self.bundle, device="cpu", precision="fp32")
        expected = texts(reference)
        heads = [f"{seconds:g} s" for seconds in LENGTHS]
        yield f"| engine | open | texts = CPU fp32 | in a batch | {' | '.join(heads)} |"
        yield f"|---|---|---|---|{'---|' * len(heads)}"
        speech = recordings(None)
        for engine in engines:
            alone = _equal(texts(engine.recognizer), expected)
            together = _equal(texts_together(engine.recognizer), expected)
            if engine.precision == "fp32":
                self.exact &= alone == together == len(expected)
            seconds = {}
            for length in LENGTHS:
                audio = cut(speech, length, 1)
                seconds[f"{length:g}"] = median_seconds(engine, audio, self.rounds)
            self.figures.setdefault("seconds", {})[engine.name] = seconds
            yield (
                f"| {engine.name} | {engine.open_seconds:.1f} s | {alone}/{len(expected)} | {together}/{len(expected)} "
                f"| {' | '.join(f'{1e3 * value:.1f} ms' for value in seconds.values())} |"
            )
        yield ""
        yield "| engine | batch of 10 s | time | RTFx |"
        yield "|---|---|---|---|"
        for engine in engines:
            for batch in BATCHES[engine.device]:
                audio = cut(speech, 10.0, batch)
                seconds_taken = median_seconds(engine, audio, self.rounds)
                rtfx = 10.0 * batch / seconds_taken
                self.figures.setdefault("rtfx", {}).setdefault(engine.name, {})[str(batch)] = rtfx
                yield f"| {engine.name} | {batch} | {1e3 * seconds_taken:.0f} ms | {rtfx:.0f} |"
        yield ""
        yield f"GPU: {gpu_state()}"

    def crossover(self, plot: Path, seconds: int) -> Iterator[str]:
        """What `parakeetd calibrate` finds, in a home of its own."""
        command = [sys.executable, "-m", "parakeetd.cli", "calibrate", "--model", "peer", "--json"]
        command += ["--models", str(self.folder / "models"), "--plot", str(plot), "--seconds", str(seconds)]
        if "cuda" not in self.devices:
            command += ["--device", "cpu"]
        with tempfile.TemporaryDirectory() as home:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
            done = subprocess.run(
                command, capture_output=True, text=True, env=kept | {"HOME": home}, check=False
            )
        if done.returncode:
            yield f"parakeetd calibrate failed: {done.stderr.strip().splitlines()[-1:]}"
            return
        self.figures["calibration"] = json.loads(done.stdout)
        found = self.figures["calibration"]["crossover_seconds"]
        yield f"Crossover: {'none' if found is None else f'{found:.2f} s'}; curves in `{plot.name}`."

    def peer(self, python: Path, audio: Path) -> Iterator[str]:
        """onnx-asr on the same devices, taking turns with ours."""
        yield "| device | batch of 10 s | ours | onnx-asr | onnx-asr, our bundle | ours is faster by |"
        yield "|---|---|---|---|---|---|"
        for device in self.devices:
            for batch in (1, PEER_BATCH[device]):
                try:
                    medians = self._against(python, audio, device, batch)
                except EngineFailed as error:
                    yield f"| {device} | {batch} | {error} | | | |"
                    break
                ratio = medians["onnx-asr"] / medians["ours"]
                self.figures.setdefault("peer", {}).setdefault(device, {})[str(batch)] = {
                    **medians,
                    "ratio": ratio,
                }
                cells = [f"{1e3 * medians[name]:.0f} ms" for name in ("ours", "onnx-asr", "our-bundle")]
                yield f"| {device} | {batch} | {' | '.join(cells)} | {ratio:.2f} x |"

    def _against(self, python: Path, audio: Path, device: Device, batch: int) -> dict[str, float]:
        precision = FASTEST[device]
        # onnx-asr has no float16 recipe of its own: on a GPU it runs NeMo's export as it is.
        theirs: Precision = "int8" if device == "cpu" else "fp32"
        contenders = {
            "ours": (Path(sys.executable), "ours", "models/peer", precision),
            "onnx-asr": (python, "onnx-asr", "onnx-asr", theirs),
            "our-bundle": (python, "onnx-asr", "models/peer", precision),
        }
        script = Path(__file__).with_name("peers_engine.py")
        with ExitStack() as stack:
            engines = []
            for name, (interpreter, kind, files, chosen) in contenders.items():
                if not interpreter.is_file():
                    raise EngineFailed(f"{interpreter} is missing")
                arguments = [kind, str(self.folder / files), chosen, str(physical_cores()), device]
                log = self.folder / f"{name}-{device}.log"
                engine = Engine(name, [str(interpreter), str(script), *arguments], log, dict(os.environ))
                stack.callback(engine.close)
                engines.append(engine)
            request = {"file": str(audio), "batch": batch}
            one_round(engines, request, 0)
            taken = [one_round(engines, request, number) for number in range(self.rounds)]
        return {name: statistics.median(answers[name]["seconds"] for answers in taken) for name in contenders}


def _equal(ours: Sequence[str], expected: Sequence[str]) -> int:
    return sum(a == b for a, b in zip(ours, expected, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", metavar="SIZE|FILE.nemo,...")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keeps models, one folder each")
    parser.add_argument("--devices", default="cuda,cpu")
    parser.add_argument("--convert", type=Path, default=ROOT / ".venv-convert/bin/python", metavar="PYTHON")
    parser.add_argument("--onnx-asr", type=Path, default=ROOT / ".venv-onnx-asr/bin/python", metavar="PYTHON")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a short calibration")
    parser.add_argument("--unjudged", action="store_true", help="exit code 0 whatever bar is missed")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    arguments = parser.parse_args()
    devices: list[Device] = ["cuda" if name == "cuda" else "cpu" for name in arguments.devices.split(",")]
    where = machine() | {"gpu": gpu_state()}
    failed = False
    with ExitStack() as stack:
        root = arguments.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="parakeetd-gpu-"))
        )
        for wanted in arguments.models.split(","):
            model = Model(
                Path(wanted).name.removesuffix(".nemo"),
                root.resolve() / Path(wanted).name.removesuffix(".nemo"),
                devices,
                3 if arguments.quick else ROUNDS,
                {"machine": where, "model": wanted},
            )
            failed |= measure(model, wanted, arguments)
    return int(failed)


def measure(model: Model, wanted: str, arguments: argparse.Namespace) -> bool:
    """Measure one model and write its page; whether something that must hold did not."""
    maker = Path(__file__).with_name("peers_models.py")
    if not (model.folder / "sherpa").exists():
        subprocess.run([str(arguments.convert), str(maker), wanted, str(model.folder)], check=True)
    audio = model.folder / "10s.npy"
    np.save(audio, cut(recordings(None), 10.0, 1)[0])
    today = datetime.datetime.now().astimezone().date()
    where: dict[str, str] = model.figures["machine"]
    kind = f"gpu-{model.name}" if "cuda" in model.devices else f"gpu-script-{model.name}"
    page = arguments.results / results_file(kind, where, today, "md").name
    page.parent.mkdir(exist_ok=True, parents=True)
    lines: list[str] = []

    def say(rows: Iterable[str]) -> None:
        for row in rows:
            print(row, flush=True)
            lines.append(row)

    say([f"# {model.name} on {', '.join(model.devices)}, {today}", ""])
    say(f"- {name}: {value}" for name, value in where.items())
    try:
        say(["", "## Texts and times", ""])
        say(model.times())
    except DeviceError as error:
        print(error, file=sys.stderr)
        return True
    say(["", "## Crossover", ""])
    say(model.crossover(page.with_suffix(".svg"), 10 if arguments.quick else 60))
    say(["", "## onnx-asr, same weights, taking turns", ""])
    say(model.peer(arguments.onnx_asr, audio))
    judged = gpu_bars(model.figures, PEER_BATCH["cuda"]) if model.name == "0.6b" else []
    say(["", *(f"- {'held' if bar.held else 'MISSED'}: {bar.text}" for bar in judged)])
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(write_results(page.with_suffix(".json"), model.figures | {"bars": [asdict(bar) for bar in judged]}))
    return not model.exact or (not arguments.unjudged and not all(bar.held for bar in judged))


if __name__ == "__main__":
    sys.exit(main())
