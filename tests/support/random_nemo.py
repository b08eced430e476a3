"""NeMo transducers with random weights: their sizes, speed and memory are real, their words are not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXT = (
    "the quick brown fox jumps over the lazy dog",
    "seven four four nine two six zero one three five eight",
    "enter erase rubout repeat stop go start help yes no",
    "the weather in the north is colder than in the south",
)


@dataclass(frozen=True)
class Sizes:
    layers: int
    width: int
    heads: int
    mels: int
    prediction: int
    prediction_layers: int
    joint: int
    channels: int
    """Of the subsampling's convolutions."""
    vocabulary: int


TINY = Sizes(3, 48, 4, 128, 40, 2, 32, 16, 60)

FULL_SIZE = {
    "110m": Sizes(17, 512, 8, 80, 640, 1, 640, 256, 1024),
    "0.6b": Sizes(24, 1024, 8, 128, 640, 2, 640, 256, 8192),
    "1.1b": Sizes(42, 1024, 8, 80, 640, 2, 640, 256, 1024),
}
"""The Parakeet-TDT models as published."""


def _many_words() -> Iterator[str]:
    """Enough made-up words for a tokenizer of thousands of pieces."""
    generator = random.Random(1)
    syllables = [a + b for a in "bcdfghjklmnprstvwz" for b in "aeiou"]
    for _ in range(60_000):
        yield " ".join("".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(8))


def write_random_nemo(
    folder: Path,
    sizes: Sizes,
    durations: tuple[int, ...] = (0, 1, 2, 3, 4),
    encoder: dict[str, Any] | None = None,
) -> Path:
    """Write `random.nemo`, an EncDecRNNTBPEModel with random weights, into `folder`; its path.

    Args:
        encoder: settings of the encoder that differ from the usual ones.
    """
    import sentencepiece
    import torch
    from nemo.collections.asr.models import EncDecRNNTBPEModel
    from omegaconf import OmegaConf

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT if sizes.vocabulary <= 60 else _many_words()),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=sizes.vocabulary,
        model_type="bpe",
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocabulary = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), encoding="utf-8")
    tdt = bool(durations)
    module = "nemo.collections.asr.modules"
    config = {
        "sample_rate": 16_000,
        "compute_eval_loss": False,
        "rnnt_reduction": "mean_volume",
        "model_defaults": {
            "enc_hidden": sizes.width,
            "pred_hidden": sizes.prediction,
            "joint_hidden": sizes.joint,
        },
        "tokenizer": {"dir": str(folder), "type": "bpe"},
        "labels": [],
        "preprocessor": {
            "_target_": f"{module}.AudioToMelSpectrogramPreprocessor",
            "features": sizes.mels,
            "n_fft": 512,
            "normalize": "per_feature",
            "window": "hann",
            "window_size": 0.025,
            "window_stride": 0.01,
            # Not what conversion verifies with: it sets both as NeMo's transcription does.
            "dither": 1e-5,
            "pad_to": 16,
        },
        "encoder": {
            "_target_": f"{module}.ConformerEncoder",
            "feat_in": sizes.mels,
            "n_layers": sizes.layers,
            "d_model": sizes.width,
            "n_heads": sizes.heads,
            "use_bias": False,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": sizes.channels,
            "conv_kernel_size": 9,
            "self_attention_model": "rel_pos",
            "xscaling": False,
            "pos_emb_max_len": 5000,
            **(encoder or {}),
        },
        "decoder": {
            "_target_": f"{module}.RNNTDecoder",
            "blank_as_pad": True,
            "prednet": {
                "pred_hidden": sizes.prediction,
                "pred_rnn_layers": sizes.prediction_layers,
                "dropout": 0.0,
            },
        },
        "joint": {
            "_target_": f"{module}.RNNTJoint",
            "log_softmax": None,
            "num_extra_outputs": len(durations),
            "jointnet": {
                "joint_hidden": sizes.joint,
                "activation": "relu",
                "encoder_hidden": sizes.width,
                "pred_hidden": sizes.prediction,
            },
        },
        "decoding": {
            "strategy": "greedy",
            "model_type": "tdt" if tdt else "rnnt",
            "greedy": {"max_symbols": 10},
            **({"durations": list(durations)} if tdt else {}),
        },
        "loss": {"loss_name": "tdt", "tdt_kwargs": {"durations": list(durations), "sigma": 0.02}}
        if tdt
        else {"loss_name": "default"},
        "interctc": {"loss_weights": [], "apply_at_layers": []},
        "optim": {"name": "adamw", "lr": 1e-3},
    }
    torch.manual_seed(1)
    model = EncDecRNNTBPEModel(cfg=OmegaConf.create(config)).eval()
    with torch.no_grad():
        # Spread, so that the choice depends on what is heard and said and not on biases alone; and the one blank
        # among many outputs and the durations above zero favoured, or it would speak ten times at every frame.
        model.joint.enc.weight *= 8
        model.joint.pred.weight *= 8
        outputs = model.joint.joint_net[-1]
        outputs.weight *= 4
        outputs.bias[len(vocabulary)] += 6.0
        outputs.bias[len(vocabulary) + 1 : len(vocabulary) + 2] -= 4.0  # empty without durations
    file = folder / "random.nemo"
    model.save_to(str(file))
    return file
