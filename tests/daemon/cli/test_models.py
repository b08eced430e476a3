"""`parakeetd models`: what is installed, whole or not."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Command
from parakeetd.model.bundle import EMBEDDED


def test_the_embedded_model_is_always_there(parakeetd: Command) -> None:
    outcome = parakeetd("models")
    assert outcome.code == 0
    [line] = outcome.out.splitlines()
    assert line.startswith("demo ")
    assert "fp32" in line
    assert str(EMBEDDED) in line


def test_json_is_a_list_with_name_path_and_precisions(parakeetd: Command, models: Path) -> None:
    rows = json.loads(parakeetd("models", "--json", "--models", models).out)
    assert [row["name"] for row in rows] == ["demo", "mine"]
    assert [row["path"] for row in rows] == [str(EMBEDDED), str(models / "mine")]
    for row in rows:
        assert row["precisions"] == ["fp32"]
        assert row["languages"] == ["en-US"]
        assert row["bytes"] == sum(
            file.stat().st_size for file in Path(row["path"]).iterdir() if file.name != "manifest.json"
        )
        assert (row["vocabulary"], row["mels"], row["ctc"]) == (192, 80, True)
        assert "error" not in row


def test_verbose_shows_what_verification_measured(parakeetd: Command, models: Path) -> None:
    manifest = json.loads((EMBEDDED / "manifest.json").read_text(encoding="utf-8"))
    shown = parakeetd("models", "--verbose", "--models", models).out
    assert f"made from demo.nemo (sha256 {manifest['source']['sha256']})" in shown
    assert "6 layers, 192 tokens, 80 mels, a CTC head" in shown
    for check, figure in manifest["verification"].items():
        assert f"{check}: {figure:.3g}" in shown


def test_verbose_shows_how_each_batch_is_decoded(parakeetd: Command, models: Path) -> None:
    file = models / "mine" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["decoding"] = {
        "cpu": {"1": {"form": "steps", "look_ahead": 4, "milliseconds": 18.04}},
        "cuda": {"1": {"form": "loop", "milliseconds": 7.0}, "8": {"form": "loop", "milliseconds": 9.5}},
    }
    file.write_text(json.dumps(manifest))
    shown = parakeetd("models", "--verbose", "--models", models).out
    assert "decoding on cpu, by pieces at once: steps 4 frames ahead (18 ms) from 1\n" in shown
    assert "decoding on cuda, by pieces at once: loop (7 ms) from 1, loop (9.5 ms) from 8\n" in shown
    [_, mine] = json.loads(parakeetd("models", "--json", "--models", models).out)
    assert mine["decoding"]["cpu"]["1"]["look_ahead"] == 4


def test_verbose_says_where_nobody_measured_the_decoding(parakeetd: Command, models: Path) -> None:
    file = models / "mine" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"decoding": {}}))
    assert "decoding: not measured" in parakeetd("models", "--verbose", "--models", models).out


def test_a_model_in_the_users_folder_is_found(parakeetd: Command, models: Path, env: dict[str, str]) -> None:
    folder = Path(env["HOME"]) / ".local/share/parakeetd/models"
    folder.parent.mkdir(parents=True)
    models.rename(folder)
    assert [row["path"] for row in json.loads(parakeetd("models", "--json").out)][1] == str(folder / "mine")


def test_a_broken_model_is_listed_with_what_is_wrong(parakeetd: Command, models: Path) -> None:
    (models / "mine" / "tokens.txt").unlink()
    outcome = parakeetd("models", "--models", models)
    assert outcome.code == 0
    demo, mine = outcome.out.splitlines()
    assert "broken" not in demo
    assert mine.startswith("mine ")
    assert "broken" in mine
    assert "tokens.txt is missing" in mine


def test_a_broken_model_has_its_error_in_json(parakeetd: Command, models: Path) -> None:
    (models / "mine" / "manifest.json").write_text("{}")
    [_, mine] = json.loads(parakeetd("models", "--json", "--models", models).out)
    assert (mine["name"], mine["path"], mine["precisions"]) == ("mine", str(models / "mine"), [])
    assert "manifest.json" in mine["error"]


def test_a_folder_that_is_being_written_is_not_listed(parakeetd: Command, models: Path) -> None:
    (models / "mine").rename(models / ".mine.partial")
    assert "mine" not in parakeetd("models", "--models", models).out


def test_a_folder_of_models_that_is_a_file_is_refused(parakeetd: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = parakeetd("models", "--models", tmp_path / "file")
    assert outcome.code == 2
    assert str(tmp_path / "file") in outcome.error
