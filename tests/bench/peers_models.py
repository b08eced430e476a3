"""What each engine of `peers.py` reads, all made from one `.nemo` file. Needs the convert extra.

    python tests/bench/peers_models.py SIZE|FILE.nemo FOLDER [--speech DIR]

In FOLDER:

`model.nemo`    for NeMo: the file itself; of a size, random weights that speak (`spread.py`)
`models/peer`   for us: converted as `parakeetd-convert` does, in float32, int8 and float16
`onnx-asr`      for onnx-asr: NeMo's own export, as its documentation says; int8 by ONNX Runtime's `quantize_dynamic`,
                signed: the encoder's MatMuls, everything of the decoder
`sherpa`        for sherpa-onnx: NeMo's export in three parts with its metadata; int8 by its published recipe: every
                operator, the encoder unsigned, the others signed
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from random_nemo import FULL_SIZE, write_random_nemo
from spread import make_speaking, recordings

NEMO, OURS, ONNX_ASR, SHERPA = "model.nemo", "models/peer", "onnx-asr", "sherpa"


def build(model: str, folder: Path, speech: Path | None) -> None:
    """Make what is not there yet. Each step has a process of its own, so that one's memory is free for the next."""
    folder.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[Path, Callable[..., None], tuple[Any, ...]]] = [
        (folder / NEMO, _make_nemo, (model, folder, speech)),
        (folder / OURS, _make_ours, (folder, model in FULL_SIZE)),
        (folder / ONNX_ASR, _make_onnx_asr, (folder,)),
        (folder / SHERPA, _make_sherpa, (folder,)),
    ]
    for made, step, arguments in steps:
        if made.exists():
            continue
        print(f"making {made.relative_to(folder)}", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            problem = process.submit(_tried, step, arguments).result()
        if problem:
            raise SystemExit(f"{made.relative_to(folder)}: {problem}")


def _tried(step: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """Run a step; what went wrong. Errors of the project cannot be pickled."""
    from parakeetd.errors import ParakeetError

    try:
        step(*arguments)
    except ParakeetError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _make_nemo(model: str, folder: Path, speech: Path | None) -> None:
    sizes = FULL_SIZE.get(model)
    if sizes is None:
        shutil.copyfile(model, folder / NEMO)
        return
    scratch = _fresh(folder / "random")
    made = make_speaking(write_random_nemo(scratch, sizes), scratch / NEMO, recordings(speech))
    print(f"{model}: {made['tokens_per_second']:.2f} tokens a second", file=sys.stderr, flush=True)
    (scratch / NEMO).replace(folder / NEMO)
    shutil.rmtree(scratch)


def _make_ours(folder: Path, random_weights: bool) -> None:
    from parakeetd_convert import pipeline, verify

    (folder / OURS).parent.mkdir(exist_ok=True)
    job = pipeline.Job(folder / NEMO, Path(OURS).name, (folder / OURS).parent, ("und",))
    with ExitStack() as stack:
        if random_weights:
            # Random models decide by a hair's breadth: any rounding changes what they say.
            stack.enter_context(mock.patch.object(verify, "check", return_value={}))
            stack.enter_context(mock.patch.object(pipeline, "check_precision", return_value={}))
        pipeline.convert(job, nullcontext)


def _make_onnx_asr(folder: Path) -> None:
    from parakeetd_convert.encoder import export_encoder
    from parakeetd_convert.transducer import write_decoder_joint

    made = _fresh(folder / "onnx-asr.part")
    model = _loaded(folder)
    export_encoder(model, made / "encoder-model.onnx", made / "scratch")
    write_decoder_joint(model, made / "decoder_joint-model.onnx", made / "scratch")
    del model
    gc.collect()
    _quantise(made / "encoder-model.onnx", made / "encoder-model.int8.onnx", operators=["MatMul"])
    _quantise(made / "decoder_joint-model.onnx", made / "decoder_joint-model.int8.onnx")
    for name in ("vocab.txt", "config.json"):
        shutil.copyfile(folder / OURS / name, made / name)
    made.rename(folder / ONNX_ASR)


def _make_sherpa(folder: Path) -> None:
    import onnx

    from parakeetd.model.bundle import Bundle
    from parakeetd_convert import sherpa

    made = _fresh(folder / "sherpa.part")
    # Before its weights are linked: onnx refuses to read files of several names.
    _quantise(folder / ONNX_ASR / "encoder-model.onnx", made / "encoder.int8.onnx", signed=False)
    architecture = Bundle.read(folder / OURS).manifest.architecture
    # The prediction network and the joint, and metadata for an encoder: here that of onnx-asr, which is NeMo's own.
    encoder = onnx.load(folder / ONNX_ASR / "encoder-model.onnx", load_external_data=False)
    onnx.save(encoder, made / "encoder-model.onnx")
    weights = folder / ONNX_ASR / "encoder-model.onnx.data"
    if weights.exists():
        os.link(weights, made / weights.name)
    shutil.copyfile(folder / OURS / "tokens.txt", made / "tokens.txt")
    sherpa.write_sherpa(_loaded(folder), architecture, made, "random.nemo")
    gc.collect()
    files = made / sherpa.FOLDER
    for file in made.glob("encoder.int8.onnx*"):
        file.rename(files / file.name)
    _quantise(files / "decoder.onnx", files / "decoder.int8.onnx")
    _quantise(files / "joiner.onnx", files / "joiner.int8.onnx")
    # Quantisation drops what sherpa-onnx reads.
    quantised = onnx.load(files / "encoder.int8.onnx", load_external_data=False)
    about = {
        entry.key: entry.value
        for entry in onnx.load(files / "encoder.onnx", load_external_data=False).metadata_props
    }
    onnx.helper.set_model_props(quantised, about)
    onnx.save(quantised, files / "encoder.int8.onnx")
    files.rename(folder / SHERPA)
    shutil.rmtree(made)


def _loaded(folder: Path) -> Any:
    from parakeetd_convert.nemo import load_nemo
    from parakeetd_convert.toolchain import load_toolchain

    load_toolchain()
    return load_nemo(folder / NEMO).model


def _quantise(source: Path, target: Path, *, operators: list[str] | None = None, signed: bool = True) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from parakeetd_convert.toolchain import quiet

    with quiet():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=operators,
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            use_external_data_format=source.stat().st_size > 1 << 30 or Path(f"{source}.data").exists(),
        )


def _fresh(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", metavar="SIZE|FILE.nemo", help=f"{', '.join(FULL_SIZE)} (random weights), or a file"
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--speech", type=Path, metavar="DIR", help="recordings to spread with, instead of the clips"
    )
    arguments = parser.parse_args()
    build(arguments.model, arguments.folder, arguments.speech)
    return 0


if __name__ == "__main__":
    sys.exit(main())
