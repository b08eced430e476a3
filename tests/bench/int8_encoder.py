"""Our encoder graphs against NeMo's export and the usual way to quantise it, in one interleaved run.

    python tests/bench/int8_encoder.py 0.6b|FILE.nemo [--seconds 10] [--rounds 15] [--folder DIR]

Four graphs of the same weights take turns on the CPU: NeMo's export in float32, ONNX Runtime's `quantize_dynamic`
of its MatMuls (the usual recipe), ours in float32 and in int8. Prints median times, the ratios and the errors
against NeMo's float32.

Needs the convert extra, 8 GB of memory and 6 GB of disk for 0.6b. Exit code 1 when our int8 is less than 1.5 x as fast
as the usual recipe, or less than 3.5 x as NeMo's float32, or less exact than the usual recipe.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

from parakeetd.model.sessions import Session, open_session, physical_cores
from parakeetd_convert.encoder import export_encoder
from parakeetd_convert.nemo import load_nemo
from parakeetd_convert.precisions import read_encoder, write_encoder_as
from parakeetd_convert.toolchain import load_toolchain, quiet
from random_nemo import FULL_SIZE, write_random_nemo

NEMO, USUAL, OURS, INT8 = "NeMo's export, float32", "usual recipe, int8", "ours, float32", "ours, int8"


def write_graphs(file: Path, folder: Path) -> dict[str, Path]:
    """The four graphs; the model itself is gone from memory afterwards."""
    model = load_nemo(file).model
    encoder = read_encoder(model)
    write_encoder_as(encoder, "fp32", folder)
    write_encoder_as(encoder, "int8", folder)
    del encoder
    (folder / "nemo").mkdir()
    (folder / "usual").mkdir()
    export_encoder(model, folder / "nemo/encoder.onnx", folder / "scratch")
    del model
    gc.collect()
    _usual_recipe(folder / "nemo/encoder.onnx", folder / "usual/encoder.onnx")
    return {
        NEMO: folder / "nemo/encoder.onnx",
        USUAL: folder / "usual/encoder.onnx",
        OURS: folder / "encoder-model.onnx",
        INT8: folder / "encoder-model.int8.onnx",
    }


def _usual_recipe(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help=f"{', '.join(FULL_SIZE)} (random weights) or a .nemo file")
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--folder", type=Path, help="where to work, instead of the folder for temporary files"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parakeetd-int8-", dir=arguments.folder) as folder, quiet():
        load_toolchain()
        sized = FULL_SIZE.get(arguments.model)
        file = write_random_nemo(Path(folder), sized) if sized else Path(arguments.model)
        graphs = write_graphs(file, Path(folder))
        sessions = {name: open_session(path, "cpu") for name, path in graphs.items()}
        return report(arguments.model, sessions, arguments.seconds, arguments.rounds)


def report(model: str, sessions: dict[str, Session], seconds: float, rounds: int) -> int:
    frames = round(seconds * 100)
    mels = sessions[NEMO].shape("audio_signal")[1]
    features = np.random.default_rng(0).standard_normal((1, int(mels or 0), frames)).astype(np.float32)
    inputs = {"audio_signal": features, "length": np.array([frames])}
    outputs = {name: session.run(inputs, ["outputs"])[0] for name, session in sessions.items()}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            begun = time.perf_counter()
            session.run(inputs, ["outputs"])
            times[name].append(time.perf_counter() - begun)
    median = {name: statistics.median(values) for name, values in times.items()}
    size = float(np.linalg.norm(outputs[NEMO]))
    error = {name: float(np.linalg.norm(output - outputs[NEMO])) / size for name, output in outputs.items()}
    print(f"{model}, {seconds:g} s of audio, {rounds} rounds, {platform.machine()}, {physical_cores()} cores")
    print(f"{'graph':24} {'median':>9} {'x real time':>12} {'x NeMo':>8} {'x usual':>8} {'error':>8}")
    for name in sessions:
        print(
            f"{name:24} {median[name] * 1e3:6.0f} ms {seconds / median[name]:12.1f} {median[NEMO] / median[name]:8.2f} "
            f"{median[USUAL] / median[name]:8.2f} {error[name]:8.4f}"
        )
    fast = median[USUAL] / median[INT8] >= 1.5 and median[NEMO] / median[INT8] >= 3.5
    return int(not (fast and error[INT8] <= error[USUAL]))


if __name__ == "__main__":
    sys.exit(main())
