"""What an installation writes."""

from __future__ import annotations

import json
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"parakeetd", "parakeetd_proto", "parakeetd_convert"}

MAX_BUNDLE_BYTES = 25_000_000


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path, file: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f".dist-info/{file}"))
        return archive.read(name).decode()


def test_the_wheel_holds_the_three_packages_and_nothing_else(names: set[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_each_package_is_typed_and_whole(names: set[str], package: str) -> None:
    (folder,) = ROOT.glob(f"*/{package}")
    python = {str(path.relative_to(folder.parent)) for path in folder.rglob("*.py")}
    assert f"{package}/py.typed" in names
    assert python <= names


def test_the_embedded_model_and_the_clips_are_in_the_wheel(names: set[str]) -> None:
    embedded = ROOT / "daemon" / "parakeetd" / "embedded"
    expected = {f"parakeetd/embedded/{path.relative_to(embedded)}" for path in embedded.rglob("*.*")}
    assert {"parakeetd/embedded/demo/manifest.json", "parakeetd/embedded/clips/clips.jsonl"} <= expected
    assert expected <= names


def test_every_file_of_the_embedded_bundle_is_in_the_wheel(wheel: Path, names: set[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        manifest = json.loads(archive.read("parakeetd/embedded/demo/manifest.json"))
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    for name, entry in manifest["files"].items():
        assert sizes[f"parakeetd/embedded/demo/{name}"] == entry["bytes"]
    total = sum(size for name, size in sizes.items() if name.startswith("parakeetd/embedded/demo/"))
    assert total < MAX_BUNDLE_BYTES


def test_the_embedded_model_comes_with_its_card_and_licences(names: set[str]) -> None:
    assert "parakeetd/embedded/MODEL_CARD.md" in names
    card = (ROOT / "daemon" / "parakeetd" / "embedded" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for licensed in ("CC BY-SA 4.0", "AN4", "free-spoken-digit-dataset"):
        assert licensed in card


def test_the_tables_that_users_copy_are_in_the_wheel(names: set[str]) -> None:
    assert {"parakeetd/text/commands.toml", "parakeetd/text/profanity.txt"} <= names


def test_the_units_that_install_writes_are_in_the_wheel(names: set[str]) -> None:
    units = "parakeetd/setup/units"
    assert {f"{units}/system/parakeetd.service", f"{units}/user/parakeetd.service"} <= names


def test_the_voice_detector_comes_with_its_licence(names: set[str]) -> None:
    folder = "parakeetd/embedded/silero"
    assert {f"{folder}/silero_vad_16k_products.onnx", f"{folder}/LICENSE.md"} <= names
    assert "MIT License" in (ROOT / "daemon" / folder / "LICENSE.md").read_text(encoding="utf-8")


def test_the_licence_is_in_the_wheel(wheel: Path) -> None:
    assert Parser().parsestr(metadata(wheel, "METADATA"))["License-Expression"] == "Apache-2.0"
    assert "Apache License" in metadata(wheel, "licenses/LICENSE")


def test_an_installation_without_extras_asks_for_no_conversion_library(wheel: Path) -> None:
    required = Parser().parsestr(metadata(wheel, "METADATA")).get_all("Requires-Dist") or []
    always = [line for line in required if "extra ==" not in line]
    assert always
    for library in ("torch", "nemo", "onnx>", "onnxscript"):
        assert not [line for line in always if line.startswith(library)]


@pytest.mark.parametrize(
    ("command", "target"),
    [("parakeetd", "parakeetd.cli:main"), ("parakeetd-convert", "parakeetd_convert.cli:main")],
)
def test_the_commands_are_declared(wheel: Path, command: str, target: str) -> None:
    assert f"{command} = {target}" in metadata(wheel, "entry_points.txt").splitlines()
