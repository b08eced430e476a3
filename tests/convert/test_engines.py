"""The bundle as others read it: the daemon's recognizer and onnx-asr, an engine that is not ours, against NeMo."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_asr
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from parakeetd.model.bundle import Bundle
from parakeetd.model.recognizer import Recognizer
from parakeetd_convert.clips import padded, shipped_speech
from parakeetd_convert.nemo import Loaded, load_nemo
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.reference import listen
from parakeetd_convert.toolchain import quiet

SETS = {
    "an4_test": "an4/test",
    "fsdd_digits": "digits",
    "tts": "tts",
    "lj": "ljspeech",
    "noise": "noise_made",
}
"""NeMo's answers by the folder of their recordings."""


def mono(file: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    resampled: NDArray[np.float32] = soxr.resample(samples.mean(axis=1), rate, 16_000).astype(np.float32)
    return resampled


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Any:
    """onnx-asr on the bundle's folder as it is, with its own log-mel features."""
    return onnx_asr.load_model("nemo-conformer-tdt", bundle.path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def recognizer(bundle: Bundle) -> Recognizer:
    return Recognizer.open(bundle, threads=2, precision="fp32")


@pytest.fixture(scope="module")
def recordings(speech: Path) -> list[tuple[Path, str]]:
    """Every fourth real recording that NeMo was asked about, with its answer."""
    answers = speech.parent / "models" / "nemo"
    if not answers.is_dir():
        pytest.skip(f"no answers of NeMo in {answers}")
    found = []
    for name, folder in SETS.items():
        rows = [
            json.loads(line) for line in (answers / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        found += [(speech / folder / row["file"], row["hyp"]) for row in rows]
    present = [(file, text) for file, text in found if file.is_file()]
    assert len(present) > 100
    return present[::4]


def test_the_daemons_recognizer_says_what_nemos_own_transcribe_says(
    demo: Loaded, recognizer: Recognizer, clips: dict[str, Any]
) -> None:
    audio = [mono(clip.path) for clip in clips.values()]
    with quiet():
        nemo = demo.model.transcribe(audio, batch_size=4, verbose=False)
    demo.model.eval()  # transcribe leaves its modules in training mode
    assert [transcript.text for transcript in recognizer.recognize(audio)] == [best.text for best in nemo]


def test_onnx_asr_reads_the_bundle_and_gives_nemos_text(engine: Any, clips: dict[str, Any]) -> None:
    for name, clip in clips.items():
        assert engine.recognize(mono(clip.path)) == clip.nemo_text, name


def test_onnx_asr_gives_nemos_text_of_a_batch(engine: Any) -> None:
    speech = shipped_speech(16_000)
    alone = [engine.recognize(clip.samples) for clip in speech]
    assert engine.recognize([clip.samples for clip in speech]) == alone


def test_real_recordings_give_nemos_text(recognizer: Recognizer, recordings: list[tuple[Path, str]]) -> None:
    different = [
        (file.name, text) for file, text in recordings if recognizer.recognize([mono(file)])[0].text != text
    ]
    assert not different


def test_real_recordings_give_nemos_text_in_onnx_asr_too(
    engine: Any, recordings: list[tuple[Path, str]]
) -> None:
    different = [(file.name, text) for file, text in recordings if engine.recognize(mono(file)) != text]
    assert not different


class TestPlainTransducer:
    """A model without a CTC head, of other sizes: 128 mels, a prediction network of two layers."""

    @pytest.fixture(scope="class")
    @staticmethod
    def plain(torch: ModuleType, plain_nemo: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
        return Bundle.read(
            convert(Job(plain_nemo, "plain", tmp_path_factory.mktemp("m"), ("und",)), nullcontext)
        )

    def test_it_has_no_ctc_graph_and_says_so(self, plain: Bundle) -> None:
        assert not plain.manifest.architecture.ctc
        assert "ctc-model.onnx" not in plain.manifest.files
        assert "ctc_error" not in plain.manifest.verification
        assert plain.manifest.source.nemo_class == "EncDecRNNTBPEModel"

    def test_its_tokens_and_times_are_nemos(self, plain: Bundle, plain_nemo: Path) -> None:
        speech = shipped_speech(16_000)
        [heard] = listen(load_nemo(plain_nemo).model, [speech]).batches
        assert sum(len(hypothesis.ids) for hypothesis in heard.hypotheses) > 20
        ours = Recognizer.open(plain, threads=2, precision="fp32").recognize(
            [clip.samples for clip in speech]
        )
        for transcript, hypothesis in zip(ours, heard.hypotheses, strict=True):
            assert tuple(token.id for token in transcript.tokens) == hypothesis.ids
            assert tuple(token.frame for token in transcript.tokens) == hypothesis.frames
            assert transcript.text == hypothesis.text

    def test_onnx_asr_reads_its_sizes_from_the_folder(self, plain: Bundle) -> None:
        engine = onnx_asr.load_model("nemo-conformer-tdt", plain.path, providers=["CPUExecutionProvider"])
        speech = shipped_speech(16_000)
        ours = Recognizer.open(plain, threads=2, precision="fp32").recognize([speech[0].samples])
        # Its words are joined by another rule where random tokens put spaces; the letters are the same.
        assert engine.recognize(speech[0].samples).replace(" ", "") == ours[0].text.replace(" ", "")


DECODER_GRAPHS = ("projection", "prediction", "joint", "greedy")


def test_every_file_of_a_bundle_is_in_its_manifest_with_its_sum(bundle: Bundle) -> None:
    present = {file.name for file in bundle.path.iterdir()} - {"manifest.json"}
    assert set(bundle.manifest.files) == present
    assert present == {
        *(f"encoder-model{p}.onnx{data}" for p in ("", ".int8", ".fp16") for data in ("", ".data")),
        *(f"decoder_joint-model{p}.onnx" for p in ("", ".int8", ".fp16")),
        *(f"{graph}-model{p}.onnx" for graph in DECODER_GRAPHS for p in ("", ".int8", ".fp16")),
        *(f"decoder-model{p}.onnx.data" for p in ("", ".int8", ".fp16")),
        *("ctc-model.onnx", "preprocessor.onnx"),
        *("tokens.txt", "vocab.txt", "tokenizer.model", "config.json"),
    }
    assert len(bundle.checked(sorted(present))) == len(present)
    assert json.loads((bundle.path / "config.json").read_text())["features_size"] == 80
    assert padded(shipped_speech(16_000)[:1])[0].ndim == 2


def test_the_manifest_says_what_it_was_made_from_and_with(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.source.file == "demo.nemo"
    assert manifest.source.nemo_class == "EncDecHybridRNNTCTCBPEModel"
    assert manifest.languages == ("en-US",)
    assert manifest.precisions == ("fp32", "int8", "fp16")
    assert {"torch", "nemo_toolkit", "onnx", "python"} <= set(manifest.tools)
