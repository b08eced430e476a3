"""Silero VAD as it ships against the file of its authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from clips import CLIPS
from parakeetd.audio.sources.file import read_audio
from parakeetd.vad.evidence import CONTEXT, WINDOW
from parakeetd_convert.silero import STATE, rewritten

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests/fixtures/silero_vad_16k_sequence.onnx"
SHIPPED = ROOT / "daemon/parakeetd/embedded/silero/silero_vad_16k_products.onnx"

TOLERANCE = 1e-5
"""Absolute, of probabilities; measured 2e-6."""
STATE_TOLERANCE = 1e-4
"""Likewise of what it remembers, and relative: in long silence the cells count up to ten."""

Floats = NDArray[np.float32]


def windows_of(samples: Floats) -> Floats:
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    return np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + WINDOW)[::WINDOW].copy()


def answers(path: Path, windows: Floats, at_once: int) -> tuple[Floats, Floats, Floats]:
    """Probabilities of all windows, and the last state."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    hidden = cell = np.zeros(STATE, np.float32)
    found = []
    for at in range(0, len(windows), at_once):
        said, hidden, cell = session.run(
            ["speech_probs", "hn", "cn"], {"input": windows[at : at + at_once], "h": hidden, "c": cell}
        )
        found.append(said)
    return np.concatenate(found), hidden, cell


@pytest.mark.parametrize("at_once", [1, 3, 50])
@pytest.mark.parametrize("kind", ["speech", "noise", "silence"])
def test_the_shipped_graph_says_what_the_authors_says(kind: str, at_once: int) -> None:
    noise = np.random.default_rng(3).normal(0, 0.05, 20 * 16_000).astype(np.float32)
    samples = {"speech": read_audio(CLIPS / "digits.flac"), "noise": noise, "silence": 0 * noise}[kind]
    windows = windows_of(samples)
    theirs, *their_state = answers(SOURCE, windows, 1)
    ours, *our_state = answers(SHIPPED, windows, at_once)
    assert (theirs.max() > 0.9) == (kind == "speech")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(our_state, their_state, rtol=STATE_TOLERANCE, atol=STATE_TOLERANCE)


def test_the_shipped_graph_is_what_the_command_writes() -> None:
    assert onnx.load(SHIPPED) == rewritten(onnx.load(SOURCE))
