"""What `list` says of the catalog and of what is installed."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from parakeetd.errors import InputError
from parakeetd.model.bundle import EMBEDDED, parse_manifest, write_manifest
from parakeetd_convert import cli
from parakeetd_convert.catalog import CATALOG, by_file, by_name
from parakeetd_convert.listing import catalog_lines


def rows(models: Path) -> dict[str, str]:
    """The lines of the table under their first word."""
    return {line.split()[0]: line for line in catalog_lines(models).splitlines()}


def test_the_command_prints_the_table_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["parakeetd-convert", "list", "--models", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert capsys.readouterr().out == catalog_lines(tmp_path) + "\n"


def test_every_fact_of_a_model_is_in_its_line(tmp_path: Path) -> None:
    table = rows(tmp_path)
    assert list(table) == ["NAME", "0.6b-v3", "0.6b-v2", "1.1b", "tdt-1.1b", "110m", "demo"]
    for fact in (
        " no ",
        "2.5 GB",
        "4.5 GB",
        "600 M",
        "25: bg, hr, cs ...",
        "CC-BY-4.0",
        "nvidia/parakeet-tdt-0.6b-v3",
        "25 European languages",
    ):
        assert fact in table["0.6b-v3"]
    assert "1.1 B" in table["1.1b"]
    assert "459 MB" in table["110m"]


def test_columns_begin_below_their_headings(tmp_path: Path) -> None:
    heading, *lines = catalog_lines(tmp_path).splitlines()
    for word in ("LICENCE", "SOURCE", "WHAT FOR"):
        at = heading.index(word)
        assert all(line[at - 1] == " " and line[at] != " " for line in lines)


def test_an_installed_model_is_shown_with_its_size_and_precisions(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "110m")
    size = sum(file.stat().st_size for file in EMBEDDED.iterdir() if file.name != "manifest.json")
    state = f"{size / 1e6:.0f} MB (fp32"
    assert state in rows(tmp_path)["110m"]
    assert state in rows(tmp_path)["demo"]
    assert " no " in rows(tmp_path)["1.1b"]


def test_a_model_that_the_catalog_does_not_know_has_its_own_line(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "mine")
    manifest = dataclasses.replace(parse_manifest(EMBEDDED), languages=("de-DE",))
    write_manifest(tmp_path / "mine", manifest)
    line = rows(tmp_path)["mine"]
    assert "de-DE" in line
    assert "demo.nemo" in line


def test_a_damaged_bundle_is_shown_as_damaged(tmp_path: Path) -> None:
    for name in ("0.6b-v3", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{")
    assert " damaged " in rows(tmp_path)["0.6b-v3"]
    assert " damaged " in rows(tmp_path)["mine"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=str(tmp_path / "file")):
        catalog_lines(tmp_path / "file")


def test_a_model_is_found_by_its_name_and_by_its_file() -> None:
    for entry in CATALOG:
        assert by_name(entry.name) is entry
        assert by_file(entry.file) is entry
    assert by_name("7b") is None
    assert by_file("7b.nemo") is None


def test_a_bundle_of_fewer_precisions_is_smaller() -> None:
    entry = by_name("0.6b-v3")
    assert entry is not None
    assert entry.installed(["fp32"]) == entry.download
    assert entry.installed(["fp32"]) < entry.installed(["fp32", "int8"]) < entry.installed()
