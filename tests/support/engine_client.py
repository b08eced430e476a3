"""Drives an engine that is not ours, in its own environment.

`python engine_client.py onnx-asr|sherpa FOLDER PRECISION` reads a JSON list of .npy files (float32
samples, 16 kHz, [n]) from stdin and prints the JSON list of their texts.
`python engine_client.py features -` writes log-mel features beside each FILE.npy: as sherpa-onnx computes them for a
NeMo model (FILE.sherpa.npy), and as the model was trained on, by the same library (FILE.model.npy).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
HOP = 160
"""Samples from one frame to the next."""

Samples = Any
Engine = Callable[[Samples], str]


def onnx_asr(folder: Path, precision: str) -> Engine:
    """As its README loads a folder."""
    import onnx_asr

    model = onnx_asr.load_model(
        "nemo-conformer-tdt",
        folder,
        quantization=None if precision == "fp32" else precision,
        providers=["CPUExecutionProvider"],
    )
    return lambda samples: str(model.recognize(samples))


def sherpa(folder: Path, precision: str) -> Engine:
    """As its examples load a NeMo transducer; from another working directory than the files'."""
    import sherpa_onnx  # type: ignore[import-not-found]  # in the engine's environment only

    files = folder / "sherpa"
    suffix = "" if precision == "fp32" else f".{precision}"
    recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
        encoder=str(files / f"encoder{suffix}.onnx"),
        decoder=str(files / "decoder.onnx"),
        joiner=str(files / "joiner.onnx"),
        tokens=str(files / "tokens.txt"),
        model_type="nemo_transducer",
        num_threads=1,
    )

    def recognize(samples: Samples) -> str:
        stream = recognizer.create_stream()
        stream.accept_waveform(16_000, samples)
        recognizer.decode_stream(stream)
        return str(stream.result.text)

    return recognize


def log_mel(samples: Samples, *, as_the_model: bool) -> Any:
    """Log-mel [T, 80] by kaldi-native-fbank, the library that sherpa-onnx has built in.

    Args:
        as_the_model: with the three settings of the NeMo model that sherpa-onnx 2.0 has otherwise: mel filters up to
            8000 Hz, not 7600; a Hann window, not Povey's; frames centred on multiples of the hop, not half a hop later.
    """
    import kaldi_native_fbank as knf  # type: ignore[import-not-found]  # in the engine's environment only

    options = knf.FbankOptions()
    frames, mels = options.frame_opts, options.mel_opts
    frames.samp_freq, frames.dither = RATE, 0
    frames.snip_edges, frames.remove_dc_offset = False, False
    frames.window_type = "hann" if as_the_model else "povey"
    mels.num_bins, mels.low_freq, mels.is_librosa = 80, 0, True
    mels.high_freq = RATE / 2 if as_the_model else -400
    bank = knf.OnlineFbank(options)
    # A hop and a half of zeros puts the second frame's centre on the first sample.
    margin = np.zeros(HOP + HOP // 2 if as_the_model else 0, np.float32)
    bank.accept_waveform(RATE, np.concatenate([margin, samples, margin]).tolist())
    bank.input_finished()
    features = np.stack([bank.get_frame(index) for index in range(bank.num_frames_ready)])
    if as_the_model:
        features = features[1 : 1 + len(samples) // HOP]
    return ((features - features.mean(axis=0)) / (features.std(axis=0) + 1e-5)).astype(np.float32)


def main(engine: str, folder: str, precision: str = "fp32") -> None:
    files = [Path(name) for name in json.load(sys.stdin)]
    if engine == "features":
        for file in files:
            np.save(file.with_suffix(".sherpa.npy"), log_mel(np.load(file), as_the_model=False))
            np.save(file.with_suffix(".model.npy"), log_mel(np.load(file), as_the_model=True))
        return
    recognize = {"onnx-asr": onnx_asr, "sherpa": sherpa}[engine](Path(folder), precision)
    json.dump([recognize(np.load(file)) for file in files], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
