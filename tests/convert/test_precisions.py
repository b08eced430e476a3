"""The encoder graph that is our own, in its three precisions, against NeMo's encoder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import BundleError
from parakeetd.model.bundle import Bundle, Precision, graph_file
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Session, open_session
from parakeetd_convert import precisions, quantize, verify_precision
from parakeetd_convert.clips import shipped_speech
from parakeetd_convert.errors import UnsupportedModel, VerificationFailed
from parakeetd_convert.fastconformer import sinusoids
from parakeetd_convert.nemo import load_nemo
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.precisions import read_encoder, supported, write_encoder_as
from parakeetd_convert.reference import Reference
from parakeetd_convert.toolchain import quiet

TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "int8": 0.05, "fp16": 0.005}
"""Relative error of the output. Measured on these models: 3e-7, 0.015, 0.0007."""

COMPARED: tuple[Precision, ...] = ("fp32", "int8")

LENGTHS = ([1], [2], [9], [101], [2_049], [300, 17, 123], [2_400, 2_399, 5])
"""Log-mel frames of each piece of a batch: single frames, on both sides of the table of positions, with padding."""

Features = NDArray[np.float32]


def batch(lengths: list[int], mels: int) -> Features:
    features = np.random.default_rng(sum(lengths)).standard_normal((len(lengths), mels, max(lengths)))
    for row, length in zip(features, lengths, strict=True):
        row[:, length:] = 0
    return features.astype(np.float32)


def compare(torch: Any, model: Any, path: Path, tolerance: float) -> None:
    """Hold a graph against NeMo's encoder inside every piece of every batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    graph = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for lengths in LENGTHS:
        features, counts = batch(list(lengths), int(model.cfg.encoder.feat_in)), np.array(lengths)
        ours, frames = graph.run(["outputs", "encoded_lengths"], {"audio_signal": features, "length": counts})
        with torch.inference_mode(), quiet():
            nemo, nemo_frames = model.encoder(
                audio_signal=torch.from_numpy(features), length=torch.from_numpy(counts)
            )
        assert frames.tolist() == nemo_frames.tolist()
        assert ours.shape == tuple(nemo.shape)
        for row, count in enumerate(frames):
            theirs = nemo[row, :, :count].numpy()
            error = np.linalg.norm(ours[row, :, :count] - theirs) / np.linalg.norm(theirs)
            assert error <= tolerance, f"piece {row} of {lengths}: {error:.2g}"


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_the_demo_models_encoder_is_nemos(
    torch: Any, demo: Any, bundle: Bundle, precision: Precision
) -> None:
    compare(torch, demo.model, bundle.path / graph_file("encoder-model", precision), TOLERANCE[precision])


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_biases_and_a_scaled_input_are_nemos_too(
    torch: Any, build_nemo: Callable[..., Path], tmp_path: Path, precision: Precision
) -> None:
    model = load_nemo(build_nemo(mels=80, encoder={"use_bias": True, "xscaling": True})).model
    with torch.no_grad():
        for name, weight in model.encoder.named_parameters():
            if name.endswith("bias"):
                # NeMo starts most of them at zero, where a forgotten one would not show.
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        for layer in model.encoder.layers:
            layer.conv.batch_norm.running_mean.normal_(generator=torch.Generator().manual_seed(2))
            layer.conv.batch_norm.running_var.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(3))
    write_encoder_as(read_encoder(model), precision, tmp_path)
    compare(torch, model, tmp_path / graph_file("encoder-model", precision), TOLERANCE[precision])


@pytest.mark.parametrize(
    ("setting", "value"), [("conv_norm_type", "layer_norm"), ("att_context_size", [20, 20])]
)
def test_an_encoder_that_the_graph_is_not_written_for_is_named_and_exported_by_nemo_in_float32(
    torch: Any, build_nemo: Callable[..., Path], tmp_path: Path, setting: str, value: Any
) -> None:
    file = build_nemo(encoder={setting: value})
    assert not supported(load_nemo(file).model)
    with pytest.raises(UnsupportedModel, match=f"{setting} = .*--precision fp32"):
        convert(Job(file, "odd", tmp_path, ("und",)), nullcontext)
    path = convert(Job(file, "odd", tmp_path, ("und",), precisions=("fp32",)), nullcontext)
    assert Bundle.read(path).manifest.verification["encoder_error"] <= 1e-4


def test_each_precision_states_its_size_its_error_and_what_it_does_to_the_words(bundle: Bundle) -> None:
    encoder = ["encoder-model.onnx", "encoder-model.onnx.data"]
    decoder = ["decoder_joint-model.onnx", "decoder-model.onnx.data"]
    fp32 = sum(bundle.manifest.files[name].bytes for name in encoder + decoder)
    sizes: dict[Precision, float] = {"int8": 2.5, "fp16": 1.8}
    for precision, smaller in sizes.items():
        measured = bundle.manifest.verification[precision]
        assert measured["bytes"] < fp32 / smaller
        assert 0 < measured["encoder_error"] < TOLERANCE[precision]
        assert measured["words"] >= 20
        assert measured["words_changed"] <= 1
        assert abs(measured["wer"] - measured["wer_nemo"]) <= 3


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_graph_with_wrong_weights_is_not_published(
    torch: Any, demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    linear = quantize.int8_linear if precision == "int8" else quantize.float32_linear
    name = "int8_linear" if precision == "int8" else "float32_linear"

    def wrong(nodes: Any, x: str, weight: Any, bias: Any) -> str:
        half = precision == "int8" or nodes.float_type != onnxruntime_float()
        return linear(nodes, x, weight * np.float32(1.3) if half else weight, bias)

    monkeypatch.setattr(precisions, name, wrong)
    job = Job(
        Path("tests/fixtures/demo.nemo").resolve(),
        "demo",
        tmp_path,
        ("en-US",),
        precisions=("fp32", precision),
    )
    with pytest.raises(VerificationFailed, match=rf"encoder-model\.{precision}\.onnx: differ from NeMo's by"):
        convert(job, nullcontext)
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("batch", [0, -1])
def test_a_number_that_is_none_in_any_batch_is_not_published(
    torch: Any, bundle: Bundle, demo_reference: Reference, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    broken = demo_reference.batches[batch]

    class Broken:
        def __init__(self, session: Session) -> None:
            self._session = session

        def run(self, inputs: dict[str, Any], outputs: list[str]) -> list[Any]:
            encoded, frames = self._session.run(inputs, outputs)
            if inputs["audio_signal"] is broken.features:
                encoded[0, 0, 0] = np.nan
            return [encoded, frames]

    monkeypatch.setattr(verify_precision, "open_session", lambda *a, **k: Broken(open_session(*a, **k)))
    with pytest.raises(VerificationFailed, match=r"encoder-model\.int8\.onnx: differ from NeMo's by nan"):
        verify_precision.check_precision(bundle, "int8", demo_reference)


def onnxruntime_float() -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT)


def test_the_fastest_precision_of_a_device_is_taken(bundle: Bundle) -> None:
    assert bundle.precision_for("cpu") == "int8"
    assert bundle.precision_for("cuda") == "fp16"
    assert bundle.precision_for("cpu", "fp32") == "fp32"
    plain = Bundle(bundle.path, dataclasses.replace(bundle.manifest, precisions=("fp32",)))
    assert plain.precision_for("cpu") == plain.precision_for("cuda") == "fp32"
    with pytest.raises(BundleError, match="no int8 graphs, only fp32"):
        plain.precision_for("cpu", "int8")


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_shipped_clips_keep_their_words(bundle: Bundle, precision: Precision) -> None:
    recognizer = Recognizer.open(bundle, threads=2, precision=precision)
    clips = shipped_speech(16_000)
    texts = [recognizer.recognize([clip.samples])[0].text for clip in clips]
    assert jiwer.wer([str(clip.transcript) for clip in clips], texts) <= 0.05


@pytest.mark.parametrize("folder", ["an4/test", "digits"])
def test_int8_costs_at_most_a_third_of_a_point_of_word_errors(
    bundle: Bundle, speech: Path, folder: str
) -> None:
    rows = map(json.loads, (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    said: list[str] = []
    engines = {p: Recognizer.open(bundle, threads=2, precision=p) for p in COMPARED}
    heard: dict[Precision, list[str]] = {precision: [] for precision in COMPARED}
    for row in rows:
        if row["file"].startswith(folder):
            samples = read_audio(speech / row["file"])
            said.append(row["transcript"].lower())
            for name, engine in engines.items():
                heard[name].append(engine.recognize([samples])[0].text)
    assert jiwer.wer(said, heard["int8"]) <= jiwer.wer(said, heard["fp32"]) + 0.003


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_a_quantised_weight_is_within_half_a_step_of_the_weight(seed: int, rows: int, columns: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    quantised, scale = quantize.per_channel(weight)
    assert quantised.dtype == np.int8
    assert np.abs(weight - quantised * scale).max() <= scale.max() * 0.5001
    assert np.abs(quantised.astype(int)).max() == 127


def test_positions_are_nemos(demo: Any) -> None:
    encoding = demo.model.encoder.pos_enc.pe[0].numpy()
    middle = len(encoding) // 2
    np.testing.assert_allclose(
        sinusoids(200, encoding.shape[1]), encoding[middle - 199 : middle + 200], atol=2e-5
    )
