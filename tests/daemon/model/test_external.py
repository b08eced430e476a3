"""A graph may read its weights only from files of its own bundle, and that is known before it is opened."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from parakeetd.errors import BundleError
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.external import external_locations
from parakeetd.model.recognizer import Recognizer

GRAPH = "encoder-model.onnx"


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, head = len(content), bytearray([*varint(number << 3 | 2)])
    return bytes(head) + varint(length) + content


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def entry(location: str) -> bytes:
    return field(1, b"location") + field(2, location.encode())


def tensor(location: str) -> bytes:
    return field(8, b"weights") + field(13, entry(location))


def model(graph: bytes) -> bytes:
    return b"\x08\x08" + field(7, graph)


def replace_graph(bundle: Path, content: bytes) -> None:
    """Put another graph into the bundle, as somebody who writes the manifest too would."""
    (bundle / GRAPH).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][GRAPH] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED, tmp_path / "mine"))


PLACES = {
    "initializer": field(5, tensor("x")),
    "sparse initializer": field(15, field(1, tensor("x"))),
    "attribute": field(1, field(5, field(5, tensor("x")))),
    "list in an attribute": field(1, field(5, field(10, tensor("x")))),
    "graph in an attribute": field(1, field(5, field(6, field(5, tensor("x"))))),
    "graphs in an attribute": field(1, field(5, field(11, field(5, tensor("x"))))),
    "sparse attribute": field(1, field(5, field(22, field(2, tensor("x"))))),
    "key after the value": field(5, field(13, field(2, b"x") + field(1, b"location"))),
    "key given twice": field(5, field(13, field(1, b"offset") + field(2, b"x") + field(1, b"location"))),
}


@pytest.mark.parametrize("graph", PLACES.values(), ids=PLACES)
def test_a_location_is_found_wherever_onnx_allows_a_tensor(tmp_path: Path, graph: bytes) -> None:
    (tmp_path / "g.onnx").write_bytes(model(graph))
    assert external_locations(tmp_path / "g.onnx") == {"x"}


def test_locations_in_functions_and_training_are_found(tmp_path: Path) -> None:
    function = field(25, field(7, field(5, field(5, tensor("f")))))
    training = field(20, field(1, field(5, tensor("t"))))
    (tmp_path / "g.onnx").write_bytes(model(b"") + function + training)
    assert external_locations(tmp_path / "g.onnx") == {"f", "t"}


def test_a_name_that_only_looks_like_a_location_is_none(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(model(field(2, b"location") + field(5, field(8, b"location"))))
    assert external_locations(tmp_path / "g.onnx") == set()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        model(field(5, tensor("x")))[:-1],
        b"\x3b" + model(field(5, tensor("x"))),
        b"\xff" * 12 + b"location",
        field(7, b"\x09location\x01"),
    ],
    ids=["empty", "cut short", "group", "endless number", "number past the end"],
)
def test_what_cannot_be_walked_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(ValueError):
        external_locations(tmp_path / "g.onnx")


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    graph = field(5, tensor("x"))
    for _ in range(60):
        graph = field(1, field(5, field(6, graph)))
    (tmp_path / "g.onnx").write_bytes(model(graph))
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        external_locations(tmp_path / "g.onnx")


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "secret", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_outside_the_bundle_are_refused_before_the_graph_is_opened(
    bundle: Path, location: str
) -> None:
    (bundle / "secret").write_bytes(b"not in the manifest")
    (bundle.parent / "secret").write_bytes(b"beside the bundle")
    replace_graph(bundle, model(field(5, tensor(location))))
    with pytest.raises(BundleError, match=r"refused: encoder-model\.onnx reads its weights from") as caught:
        Recognizer.open(Bundle.read(bundle))
    assert repr(location) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_in_a_file_of_the_bundle_are_checked_by_their_sum(bundle: Path) -> None:
    content = b"weights"
    replace_graph(bundle, model(field(5, tensor("weights.bin"))))
    (bundle / "weights.bin").write_bytes(b"WEIGHTS")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["weights.bin"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"weights\.bin does not match"):
        Bundle.read(bundle).checked([GRAPH])
    (bundle / "weights.bin").write_bytes(content)
    assert Bundle.read(bundle).checked([GRAPH]) == [bundle / GRAPH]


def test_weights_are_looked_for_beside_their_graph(bundle: Path) -> None:
    (bundle / "inner").mkdir()
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name, content in (("inner/g.onnx", model(field(5, tensor("w.data")))), ("w.data", b"w")):
        (bundle / name).write_bytes(content)
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"inner/g\.onnx reads its weights from 'w\.data'"):
        Bundle.read(bundle).checked(["inner/g.onnx"])
    manifest["files"]["inner/w.data"] = manifest["files"].pop("w.data")
    (bundle / "w.data").rename(bundle / "inner" / "w.data")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert Bundle.read(bundle).checked(["inner/g.onnx"]) == [bundle / "inner" / "g.onnx"]


@pytest.mark.parametrize("inside", [True, False])
def test_a_file_that_is_a_link_is_refused(bundle: Path, inside: bool) -> None:
    target = bundle / "other.onnx" if inside else bundle.parent / "other.onnx"
    (bundle / GRAPH).rename(target)
    (bundle / GRAPH).symlink_to(target)
    with pytest.raises(BundleError, match="refused: "):
        Bundle.read(bundle)


def test_a_bundle_may_itself_lie_behind_a_link(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(bundle)
    assert Bundle.read(tmp_path / "elsewhere").checked([GRAPH]) == [tmp_path / "elsewhere" / GRAPH]
