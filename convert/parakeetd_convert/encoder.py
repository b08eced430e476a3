"""The encoder as NeMo exports it, for models that `fastconformer` is not written for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parakeetd_convert.graphs import export


def export_encoder(model: Any, path: Path, scratch: Path) -> None:
    """Write `audio_signal` [B, mels, T] float32, `length` [B] int64 -> `outputs` [B, D, T'],
    `encoded_lengths` [B].

    T' is (T - 1) // 8 + 1 for a subsampling of 8. Above 2 GB the weights are in `path` + `.data`.
    """
    export(model.encoder, path, scratch)
