"""A bundle that is not whole is refused with the name of what is wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parakeetd.errors import BundleError, ModelNotFound
from parakeetd.model.bundle import (
    EMBEDDED,
    Bundle,
    find_bundle,
    installed_names,
    parse_manifest,
    write_manifest,
)
from parakeetd.model.recognizer import Recognizer

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the embedded bundle that may be damaged."""
    return Path(shutil.copytree(EMBEDDED, tmp_path / "models" / "mine"))


def change_manifest(bundle: Path, change: Change) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_whole_bundle_opens(bundle: Path) -> None:
    assert Recognizer.open(Bundle.read(bundle), threads=1).architecture.mels == 80


def test_a_manifest_survives_being_written_and_read(tmp_path: Path) -> None:
    manifest = parse_manifest(EMBEDDED)
    write_manifest(tmp_path, manifest)
    assert parse_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    "name", ["encoder-model.onnx", "decoder_joint-model.onnx", "tokens.txt", "preprocessor.onnx"]
)
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.read(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "encoder-model.onnx",
        "prediction-model.onnx",
        "decoder-model.onnx.data",
        "tokens.txt",
        "preprocessor.onnx",
    ],
)
def test_a_changed_byte_is_found_in_the_file_it_is_in(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} does not match"):
        Recognizer.open(Bundle.read(bundle))


def test_a_file_cut_short_is_named_before_anything_is_read(bundle: Path) -> None:
    file = bundle / "encoder-model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"encoder-model\.onnx has \d+ bytes"):
        Bundle.read(bundle)


def test_a_missing_manifest_is_named(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        Bundle.read(bundle)


@pytest.mark.parametrize("content", ["", "{", "\xff"])
def test_a_manifest_that_is_not_json_is_refused(bundle: Path, content: str) -> None:
    (bundle / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        Bundle.read(bundle)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.update(format=99), "format 99"),
        (lambda m: m.pop("architecture"), "architecture is missing"),
        (lambda m: m["architecture"].pop("durations"), r"architecture\.durations is missing"),
        (lambda m: m["architecture"].update(mels="80"), r"architecture\.mels must be int"),
        (lambda m: m["architecture"].update(durations=["a"]), r"architecture\.durations\[0\]"),
        (lambda m: m.update(precisions=["fp64"]), r"precisions\[0\]"),
        (lambda m: m["files"].update({"../escape": {"sha256": "", "bytes": 0}}), "outside the bundle"),
        (lambda m: m.update(files=[]), "files must be"),
    ],
)
def test_a_wrong_manifest_is_refused_by_its_field(bundle: Path, change: Change, named: str) -> None:
    change_manifest(bundle, change)
    with pytest.raises(BundleError, match=named):
        Bundle.read(bundle)


def test_a_graph_that_the_manifest_does_not_list_is_not_opened(bundle: Path) -> None:
    change_manifest(bundle, lambda m: m["files"].pop("encoder-model.onnx"))
    with pytest.raises(BundleError, match=r"does not list encoder-model\.onnx"):
        Recognizer.open(Bundle.read(bundle))


def test_a_vocabulary_of_another_size_is_refused(bundle: Path) -> None:
    change_manifest(bundle, lambda m: m["architecture"].update(vocabulary=191))
    with pytest.raises(BundleError, match="192 tokens, the manifest says 191"):
        Recognizer.open(Bundle.read(bundle))


def test_a_model_that_is_not_installed_is_named_with_those_that_are(bundle: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"'0\.6b-v3' is not installed.*demo, mine"):
        find_bundle("0.6b-v3", bundle.parent)


@pytest.mark.parametrize("name", ["", "..", "../models/mine", "/etc"])
def test_a_name_is_never_taken_for_a_path(bundle: Path, name: str) -> None:
    with pytest.raises(ModelNotFound):
        find_bundle(name, bundle.parent)


def test_the_embedded_model_is_always_installed(tmp_path: Path) -> None:
    assert installed_names(tmp_path / "absent") == ["demo"]
    assert find_bundle("demo", tmp_path / "absent").path == EMBEDDED


def test_unfinished_conversions_are_not_installed(bundle: Path) -> None:
    shutil.copytree(EMBEDDED, bundle.parent / ".mine.partial-1")
    assert installed_names(bundle.parent) == ["demo", "mine"]


def test_a_file_with_two_names_takes_its_place_on_disk_once(bundle: Path) -> None:
    whole = Bundle.read(bundle).bytes_on_disk
    assert whole == sum(entry.bytes for entry in Bundle.read(bundle).manifest.files.values())
    (bundle / "encoder.onnx.data").hardlink_to(bundle / "encoder-model.onnx.data")

    def add(manifest: dict[str, Any]) -> None:
        manifest["files"]["encoder.onnx.data"] = manifest["files"]["encoder-model.onnx.data"]

    change_manifest(bundle, add)
    assert Bundle.read(bundle).bytes_on_disk == whole
