"""Runs other engines on a bundle, each in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("engine_client.py")

PATIENCE_SECONDS = 300

ENVIRONMENTS = {"onnx-asr": ".venv-onnx-asr", "sherpa": ".venv-sherpa"}


def mono(file: Path) -> NDArray[np.float32]:
    """Samples of a file at 16 kHz, by no code of the project."""
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    resampled: NDArray[np.float32] = soxr.resample(samples.mean(axis=1), rate, 16_000).astype(np.float32)
    return resampled


def written(audio: Sequence[NDArray[np.float32]], folder: Path) -> list[Path]:
    """Write each piece to a file that the engines' driver reads."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number}.npy" for number in range(len(audio))]
    for file, samples in zip(files, audio, strict=True):
        np.save(file, samples)
    return files


def texts(engine: str, bundle: Path, precision: str, files: Sequence[Path]) -> list[str]:
    """What an engine (`onnx-asr` or `sherpa`) says of each file of samples."""
    heard: list[str] = json.loads(_run(engine, [engine, str(bundle), precision], files))
    return heard


def sherpa_features(files: Sequence[Path]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Features [T, 80] of each file of samples: as sherpa-onnx computes them, and with the model's own settings."""
    _run("sherpa", ["features", "-"], files)
    return [
        (np.load(file.with_suffix(".sherpa.npy")), np.load(file.with_suffix(".model.npy"))) for file in files
    ]


def _run(engine: str, arguments: list[str], files: Sequence[Path]) -> str:
    python = ROOT / ENVIRONMENTS[engine] / "bin" / "python"
    if not python.is_file():
        problem = (
            f"{engine} is not there: {python} is missing; make it with: make {ENVIRONMENTS[engine]}/.ready"
        )
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    done = subprocess.run(
        [python, DRIVER, *arguments],
        input=json.dumps([str(file) for file in files]),
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        text=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
