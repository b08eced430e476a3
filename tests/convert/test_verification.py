"""Verification lets through what NeMo says and nothing else; what fails is named and not published."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest

from parakeetd.model.bundle import EMBEDDED, LOG_MEL_GRAPH, Bundle, FileEntry, sha256, write_manifest
from parakeetd_convert.clips import noises, shipped_speech
from parakeetd_convert.ctc import write_ctc
from parakeetd_convert.errors import BundleExists, VerificationFailed
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.reference import Reference
from parakeetd_convert.verify import check

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"


def changed(bundle: Bundle, folder: Path, file: str, change: Callable[[Path], None]) -> Bundle:
    """A copy of the bundle with one file changed, whose manifest knows of it."""
    copy = folder / "copy"
    shutil.copytree(bundle.path, copy)
    change(copy / file)
    files = dict(bundle.manifest.files)
    files[file] = FileEntry(sha256(copy / file), (copy / file).stat().st_size)
    write_manifest(copy, dataclasses.replace(bundle.manifest, files=files))
    return Bundle.read(copy)


def scale_largest_weight(path: Path, factor: float = 1.01) -> None:
    """As a wrong export would be: almost right."""
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    weights = onnx.numpy_helper.to_array(largest) * np.float32(factor)
    largest.CopyFrom(onnx.numpy_helper.from_array(weights, largest.name))
    onnx.save(model, path)


def swap_two_tokens(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for one, other in (("▁seven", "▁two"),):
        first = next(line for line in lines if line.startswith(f"{one} "))
        second = next(line for line in lines if line.startswith(f"{other} "))
        lines[lines.index(first)] = f"{other} {first.split()[1]}"
        lines[lines.index(second)] = f"{one} {second.split()[1]}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def freeze_batch(path: Path) -> None:
    """A graph that depends on batch 1: its head reshapes to one row."""
    model = onnx.load(path)
    graph = model.graph
    shape = onnx.numpy_helper.from_array(np.array([1, -1, 193], np.int64), "one_row")
    graph.initializer.append(shape)
    graph.node[-1].output[0] = "any_rows"
    graph.node.append(onnx.helper.make_node("Reshape", ["any_rows", "one_row"], ["logprobs"]))
    onnx.save(model, path)


def test_the_bundle_of_the_fixture_model_is_verified_and_its_figures_are_written(bundle: Bundle) -> None:
    measured = bundle.manifest.verification
    assert measured["log_mel_error"] <= 2e-4
    assert measured["encoder_error"] <= 1e-5
    assert measured["decoder_joint_error"] <= 1e-5
    assert measured["ctc_error"] <= 1e-4
    assert measured["texts_that_differ"] == 0
    assert measured["clips"] == len(shipped_speech(16_000)) + len(noises(16_000))
    assert measured["tokens"] > 50


def test_the_shipped_bundle_is_the_fixture_model_and_says_what_nemo_says(demo_reference: Reference) -> None:
    shipped = Bundle.read(EMBEDDED)
    assert shipped.manifest.source.sha256 == sha256(DEMO)
    assert sum(file.bytes for file in shipped.manifest.files.values()) <= 25_000_000
    assert check(shipped, demo_reference)["texts_that_differ"] == 0


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        (LOG_MEL_GRAPH, scale_largest_weight, "features of preprocessor.onnx on digits.flac"),
        ("encoder-model.onnx", scale_largest_weight, "outputs of encoder-model.onnx on digits.flac"),
        (
            "decoder_joint-model.onnx",
            scale_largest_weight,
            "outputs of decoder_joint-model.onnx on step 2 of 12, batch 1",
        ),
        ("ctc-model.onnx", scale_largest_weight, "logprobs of ctc-model.onnx on digits.flac"),
        ("ctc-model.onnx", lambda path: scale_largest_weight(path, np.nan), "logprobs of ctc-model.onnx"),
        ("ctc-model.onnx", freeze_batch, "has shape"),
        (
            "tokens.txt",
            swap_two_tokens,
            "command.flac in a batch of 1: the text is 'enter two seven nine five'",
        ),
        ("encoder-model.onnx", lambda path: path.write_bytes(b"x"), "encoder-model.onnx"),
    ],
    ids=["log-mel", "encoder", "joint", "ctc", "NaN", "batch frozen to 1", "tokens swapped", "not a graph"],
)
def test_what_differs_from_nemo_is_named(
    bundle: Bundle,
    demo_reference: Reference,
    tmp_path: Path,
    file: str,
    change: Callable[[Path], None],
    named: str,
) -> None:
    with pytest.raises(VerificationFailed, match=named):
        check(changed(bundle, tmp_path, file, change), demo_reference)


def test_a_token_time_that_differs_is_named(bundle: Bundle, demo_reference: Reference) -> None:
    heard = demo_reference.batches[0]
    [hypothesis] = heard.hypotheses
    late = dataclasses.replace(hypothesis, frames=(*hypothesis.frames[:-1], hypothesis.frames[-1] + 1))
    batches = [dataclasses.replace(heard, hypotheses=[late]), *demo_reference.batches[1:]]
    with pytest.raises(VerificationFailed, match=r"digits\.flac .* the token times in frames are"):
        check(bundle, dataclasses.replace(demo_reference, batches=batches))


def test_a_text_of_the_ctc_head_that_differs_is_named(bundle: Bundle, demo_reference: Reference) -> None:
    heard = demo_reference.batches[0]
    batches = [dataclasses.replace(heard, ctc_texts=["five six one"]), *demo_reference.batches[1:]]
    with pytest.raises(
        VerificationFailed, match=r"digits\.flac .*decoded by CTC: .*NeMo's is 'five six one'"
    ):
        check(bundle, dataclasses.replace(demo_reference, batches=batches))


def test_a_failed_verification_publishes_nothing_and_keeps_the_old_bundle(
    torch: object, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: object, path: Path) -> None:
        write_ctc(model, path)
        scale_largest_weight(path)

    monkeypatch.setattr("parakeetd_convert.pipeline.write_ctc", wrong)
    shutil.copytree(bundle.path, tmp_path / "old")
    for name, left in (("new", []), ("old", ["old"])):
        with pytest.raises(VerificationFailed, match=r"logprobs of ctc-model\.onnx.*nothing was published"):
            convert(Job(DEMO, name, tmp_path / "models", ("en-US",), force=True), nullcontext)
        assert [path.name for path in (tmp_path / "models").iterdir()] == left
        if not left:
            shutil.move(tmp_path / "old", tmp_path / "models" / "old")
    assert Bundle.read(tmp_path / "models" / "old").manifest == bundle.manifest


def test_an_existing_bundle_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    with pytest.raises(BundleExists):
        convert(Job(DEMO, "demo", tmp_path, ("en-US",)), lambda title: pytest.fail(f"began: {title}"))


def test_a_missing_clip_fails_verification_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "clips.jsonl").write_text('{"file": "gone.flac"}\n')
    with pytest.raises(VerificationFailed, match=r"gone\.flac"):
        shipped_speech(16_000, tmp_path)
