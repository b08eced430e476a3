"""The prediction network and joint as one graph, a step at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parakeetd_convert.graphs import export


def write_decoder_joint(model: Any, path: Path, scratch: Path) -> None:
    """Write `encoder_outputs` [B, D, T], `targets` [B, U] int32, `target_length` [B] int32, `input_states_1`
    and `input_states_2` [layers, B, H] -> `outputs` [B, T, U, V + 1 + durations], `prednet_lengths`,
    `output_states_1`, `output_states_2`.

    The last outputs are the durations' logits, index V is blank.
    """
    export(model.decoder_joint, path, scratch)
