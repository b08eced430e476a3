"""The models that the conversion's tests share. NeMo takes 15 s to import: once per run."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parakeetd.model.bundle import Bundle
from parakeetd_convert.clips import verification_batches
from parakeetd_convert.nemo import Loaded, load_nemo
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.reference import Reference, listen
from parakeetd_convert.toolchain import load_toolchain, quiet

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"

TEXT = (
    "the quick brown fox jumps over the lazy dog",
    "seven four four nine two six zero one three five eight",
    "enter erase rubout repeat stop go start help yes no",
    "the weather in the north is colder than in the south",
)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """torch, with NeMo loaded beside it. One thread: these models are so small that waking a second takes longer
    than the work, many times so when the machine has something else to do."""
    with quiet():
        load_toolchain()
    import torch

    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def demo(torch: ModuleType) -> Loaded:
    """The fixture model as NeMo restores it; never exported, so that it stays NeMo's own."""
    return load_nemo(DEMO)


@pytest.fixture(scope="session")
def demo_reference(demo: Loaded) -> Reference:
    return listen(demo.model, verification_batches(16_000))


@pytest.fixture(scope="session")
def bundle(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The fixture model, converted."""
    job = Job(DEMO, "demo", tmp_path_factory.mktemp("models"), ("en-US",))
    return Bundle.read(convert(job, nullcontext))


@pytest.fixture(scope="session")
def build_nemo(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a `.nemo` file of a plain transducer (EncDecRNNTBPEModel) with random weights."""

    def build(
        durations: tuple[int, ...] = (0, 1, 2, 3, 4), mels: int = 128, encoder: dict[str, Any] | None = None
    ) -> Path:
        folder = tmp_path_factory.mktemp("random")
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            return _random_transducer(torch, folder, durations, mels, encoder or {})

    return build


@pytest.fixture(scope="session")
def plain_nemo(build_nemo: Callable[..., Path]) -> Path:
    return build_nemo()


def _random_transducer(
    torch: Any, folder: Path, durations: tuple[int, ...], mels: int, encoder: dict[str, Any]
) -> Path:
    """
    Args:
        encoder: settings of the encoder that differ from the usual ones.
    """
    import sentencepiece
    from nemo.collections.asr.models import EncDecRNNTBPEModel
    from omegaconf import OmegaConf

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=60,
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
        "model_defaults": {"enc_hidden": 48, "pred_hidden": 40, "joint_hidden": 32},
        "tokenizer": {"dir": str(folder), "type": "bpe"},
        "labels": [],
        "preprocessor": {
            "_target_": f"{module}.AudioToMelSpectrogramPreprocessor",
            "features": mels,
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
            "feat_in": mels,
            "n_layers": 3,
            "d_model": 48,
            "n_heads": 4,
            "use_bias": False,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": 16,
            "conv_kernel_size": 9,
            "self_attention_model": "rel_pos",
            "xscaling": False,
            "pos_emb_max_len": 5000,
            **encoder,
        },
        "decoder": {
            "_target_": f"{module}.RNNTDecoder",
            "blank_as_pad": True,
            "prednet": {"pred_hidden": 40, "pred_rnn_layers": 2, "dropout": 0.0},
        },
        "joint": {
            "_target_": f"{module}.RNNTJoint",
            "log_softmax": None,
            "num_extra_outputs": len(durations),
            "jointnet": {"joint_hidden": 32, "activation": "relu", "encoder_hidden": 48, "pred_hidden": 40},
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
        # among 61 outputs and the durations above zero favoured, or it would speak ten times at every frame.
        model.joint.enc.weight *= 8
        model.joint.pred.weight *= 8
        outputs = model.joint.joint_net[-1]
        outputs.weight *= 4
        outputs.bias[len(vocabulary)] += 6.0
        outputs.bias[len(vocabulary) + 1 : len(vocabulary) + 2] -= 4.0  # empty without durations
    file = folder / "random.nemo"
    model.save_to(str(file))
    return file
