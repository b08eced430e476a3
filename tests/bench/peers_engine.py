"""One engine of `peers.py` and `gpu.py`, in its own environment: reads files of samples, says how long each took.

    python peers_engine.py ours|onnx-asr|sherpa|nemo FOLDER fp32|int8|fp16 THREADS [cpu|cuda]

Each line of input is {"file": FILE.npy, "batch": N}, float32 samples at 16 kHz, N times over (default: once); the
answer is a line of output: {"seconds", "tokens" and "text" of the first, "stages": {"features", "encoder", "decode"} in
seconds, for ours only}. onnx-asr and ours take batches, and know a GPU.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

Samples = Any
Heard = tuple[int, str]
"""Number of tokens and text of the first of a batch."""
Engine = Callable[[list[Samples]], Heard]

stages = {"features": 0.0, "encoder": 0.0}
"""Seconds of the last run, for ours."""


def _timed(stage: str, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Adds the time of a run to its stage."""

    def timed(given: Any) -> Any:
        begun = time.perf_counter()
        results = run(given)
        stages[stage] += time.perf_counter() - begun
        return results

    return timed


def ours(folder: Path, precision: str, threads: int, device: str) -> Engine:
    from parakeetd.model.bundle import PRECISIONS, Bundle
    from parakeetd.model.recognizer import Recognizer

    [chosen] = [name for name in PRECISIONS if name == precision]
    recognizer = Recognizer.open(
        Bundle.read(folder), device="cuda" if device == "cuda" else "cpu", threads=threads, precision=chosen
    )
    # What is neither features nor encoder counts as decoding, Python included.
    for stage, name in (("features", "features"), ("encoder", "encode")):
        setattr(recognizer, name, _timed(stage, getattr(recognizer, name)))

    def recognize(audio: list[Samples]) -> Heard:
        stages.update(features=0.0, encoder=0.0)
        transcript = recognizer.recognize(audio)[0]
        return len(transcript.tokens), transcript.text

    return recognize


def onnx_asr(folder: Path, precision: str, threads: int, device: str) -> Engine:
    """As its README loads a folder, with times, which carry the tokens."""
    import onnx_asr
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = onnx_asr.load_model(
        "nemo-conformer-tdt",
        folder,
        quantization=None if precision == "fp32" else precision,
        providers=["CUDAExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"],
        sess_options=options,
    ).with_timestamps()

    def recognize(audio: list[Samples]) -> Heard:
        result = model.recognize(audio)[0] if len(audio) > 1 else model.recognize(audio[0])
        return len(result.tokens or ()), str(result.text)

    return recognize


def sherpa(folder: Path, precision: str, threads: int, _device: str) -> Engine:
    """As its examples load a NeMo transducer."""
    import sherpa_onnx  # type: ignore[import-not-found]  # in the engine's environment only

    suffix = "" if precision == "fp32" else f".{precision}"
    recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
        encoder=str(folder / f"encoder{suffix}.onnx"),
        decoder=str(folder / f"decoder{suffix}.onnx"),
        joiner=str(folder / f"joiner{suffix}.onnx"),
        tokens=str(folder / "tokens.txt"),
        model_type="nemo_transducer",
        num_threads=threads,
    )

    def recognize(audio: list[Samples]) -> Heard:
        [samples] = audio
        stream = recognizer.create_stream()
        stream.accept_waveform(16_000, samples)
        recognizer.decode_stream(stream)
        return len(stream.result.tokens), str(stream.result.text)

    return recognize


def nemo(file: Path, _precision: str, threads: int, _device: str) -> Engine:
    """`transcribe`, with the decoding that the published models have set: greedy, in batches."""
    import torch
    from omegaconf import open_dict

    from parakeetd_convert.nemo import load_nemo
    from parakeetd_convert.toolchain import load_toolchain

    torch.set_num_threads(threads)
    load_toolchain()
    model = load_nemo(file).model
    decoding = model.cfg.decoding
    with open_dict(decoding):
        decoding.strategy = "greedy_batch"
        decoding.greedy.use_cuda_graph_decoder = False
    model.change_decoding_strategy(decoding, verbose=False)
    settings = model.get_transcribe_config()
    settings.batch_size, settings.verbose, settings.return_hypotheses = 1, False, True
    settings.num_workers = 0

    def recognize(audio: list[Samples]) -> Heard:
        found = model.transcribe(audio, override_config=settings)[0]
        hypothesis = found[0] if isinstance(found, list) else found
        return len(hypothesis.y_sequence), str(hypothesis.text)

    return recognize


ENGINES = {"ours": ours, "onnx-asr": onnx_asr, "sherpa": sherpa, "nemo": nemo}


def versions() -> dict[str, str]:
    known = (
        "parakeetd",
        "onnxruntime",
        "onnxruntime-gpu",
        "onnx-asr",
        "sherpa_onnx",
        "nemo_toolkit",
        "torch",
    )
    installed = {item.metadata["Name"].lower().replace("-", "_") for item in metadata.distributions()}
    return {name: metadata.version(name) for name in known if name.replace("-", "_") in installed}


def main(name: str, folder: str, precision: str, threads: str, device: str = "cpu") -> None:
    # The answers have a channel of their own: libraries print what they like.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    begun = time.perf_counter()
    recognize = ENGINES[name](Path(folder), precision, int(threads), device)
    say({"ready": name, "load_seconds": time.perf_counter() - begun, "versions": versions()})
    for line in sys.stdin:
        request = json.loads(line)
        audio = [np.load(request["file"])] * request.get("batch", 1)
        begun = time.perf_counter()
        tokens, text = recognize(audio)
        seconds = time.perf_counter() - begun
        answer = {"seconds": seconds, "tokens": tokens, "text": text}
        if name == "ours":
            answer["stages"] = stages | {"decode": seconds - sum(stages.values())}
        say(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
