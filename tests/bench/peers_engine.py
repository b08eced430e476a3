"""One engine of `peers.py`, in the engine's own environment: reads files of samples, says how long each took.

    python peers_engine.py ours|onnx-asr|sherpa|nemo FOLDER fp32|int8 THREADS

Each line of input is {"file": FILE.npy}, float32 samples at 16 kHz; the answer is a line of output:
{"seconds", "tokens", "text", "stages": {"features", "encoder", "decode"} in seconds, for ours only}.
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
"""Number of tokens and text."""
Engine = Callable[[Samples], Heard]

stages = {"features": 0.0, "encoder": 0.0}
"""Seconds in ONNX Runtime, for ours."""


def _timed(run: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the time of a session's run to its stage; whatever is neither features nor encoder is decoding."""

    def timed(session: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        stage = {"waveforms": "features", "audio_signal": "encoder"}.get(next(iter(inputs)))
        begun = time.perf_counter()
        results = run(session, inputs, *rest, **named)
        if stage is not None:
            stages[stage] += time.perf_counter() - begun
        return results

    return timed


def ours(folder: Path, precision: str, threads: int) -> Engine:
    from parakeetd.model.bundle import PRECISIONS, Bundle
    from parakeetd.model.recognizer import Recognizer
    from parakeetd.model.sessions import Session

    for name in ("run", "run_on_device"):
        setattr(Session, name, _timed(getattr(Session, name)))
    [chosen] = [name for name in PRECISIONS if name == precision]
    recognizer = Recognizer.open(Bundle.read(folder), device="cpu", threads=threads, precision=chosen)

    def recognize(samples: Samples) -> Heard:
        stages.update(features=0.0, encoder=0.0)
        [transcript] = recognizer.recognize([samples])
        return len(transcript.tokens), transcript.text

    return recognize


def onnx_asr(folder: Path, precision: str, threads: int) -> Engine:
    """As its README loads a folder, with times, which carry the tokens."""
    import onnx_asr
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = onnx_asr.load_model(
        "nemo-conformer-tdt",
        folder,
        quantization=None if precision == "fp32" else precision,
        providers=["CPUExecutionProvider"],
        sess_options=options,
    ).with_timestamps()

    def recognize(samples: Samples) -> Heard:
        result = model.recognize(samples)
        return len(result.tokens or ()), str(result.text)

    return recognize


def sherpa(folder: Path, precision: str, threads: int) -> Engine:
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

    def recognize(samples: Samples) -> Heard:
        stream = recognizer.create_stream()
        stream.accept_waveform(16_000, samples)
        recognizer.decode_stream(stream)
        return len(stream.result.tokens), str(stream.result.text)

    return recognize


def nemo(file: Path, _precision: str, threads: int) -> Engine:
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

    def recognize(samples: Samples) -> Heard:
        found = model.transcribe([samples], override_config=settings)[0]
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


def main(name: str, folder: str, precision: str, threads: str) -> None:
    # The answers have a channel of their own: libraries print what they like.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    begun = time.perf_counter()
    recognize = ENGINES[name](Path(folder), precision, int(threads))
    say({"ready": name, "load_seconds": time.perf_counter() - begun, "versions": versions()})
    for line in sys.stdin:
        samples = np.load(json.loads(line)["file"])
        begun = time.perf_counter()
        tokens, text = recognize(samples)
        seconds = time.perf_counter() - begun
        answer = {"seconds": seconds, "tokens": tokens, "text": text}
        if name == "ours":
            answer["stages"] = stages | {"decode": seconds - sum(stages.values())}
        say(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
