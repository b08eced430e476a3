"""The CTC head of a hybrid, on top of the same encoder as the transducer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parakeetd_convert.toolchain import quiet

OPSET = 17


def write_ctc(model: Any, path: Path) -> None:
    """Write `encoder_outputs` [B, D, T'] float32 -> `logprobs` [B, T', V + 1] float32; index V is blank."""
    import torch

    head = model.ctc_decoder

    class Head(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = head.decoder_layers

        def forward(self, encoder_outputs: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.log_softmax(self.layers(encoder_outputs).transpose(1, 2), dim=-1)

    with quiet(), torch.inference_mode():
        torch.onnx.export(
            Head().eval(),
            (torch.zeros(1, head._feat_in, 8),),
            str(path),
            input_names=["encoder_outputs"],
            output_names=["logprobs"],
            dynamic_axes={
                "encoder_outputs": {0: "batch", 2: "frames"},
                "logprobs": {0: "batch", 1: "frames"},
            },
            opset_version=OPSET,
            dynamo=False,
        )
