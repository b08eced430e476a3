"""Files and folders that may not be read or written: named by every command that meets them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clips import Clip
from commands import run_unprivileged


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A folder that may be read and not written."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    return folder


def test_a_file_that_may_not_be_read_is_named_and_the_others_are_transcribed(
    env: dict[str, str], clips: dict[str, Clip], tmp_path: Path
) -> None:
    secret = tmp_path / "secret.flac"
    shutil.copyfile(clips["digits"].path, secret)
    secret.chmod(0)
    outcome = run_unprivileged("transcribe", secret, clips["stereo"].path, env=env)
    assert outcome.code == 2
    assert outcome.out.strip() == clips["stereo"].nemo_text
    assert outcome.err.splitlines()[0] == f"parakeetd: {secret}: cannot be read: Permission denied"


def test_a_folder_that_may_not_be_written_is_named(
    env: dict[str, str], clips: dict[str, Clip], locked: Path
) -> None:
    outcome = run_unprivileged("transcribe", "--output", locked, clips["digits"].path, env=env)
    assert outcome.code == 2
    assert outcome.error == f"parakeetd: cannot write {locked}/digits.txt: Permission denied"


def test_a_configuration_that_may_not_be_read_is_no_reason_for_the_defaults(env: dict[str, str]) -> None:
    file = Path(env["HOME"]) / ".config/parakeetd/config.toml"
    file.parent.mkdir(parents=True)
    file.touch(mode=0)
    outcome = run_unprivileged("serve", env=env)
    assert outcome.code == 2
    assert outcome.error == f"parakeetd: configuration {file}: cannot be read: Permission denied"


@pytest.mark.parametrize("place", ["p.sock", "new/p.sock"])
def test_a_folder_where_no_socket_may_be_made_is_named(env: dict[str, str], locked: Path, place: str) -> None:
    address = f"unix:{locked}/{place}"
    outcome = run_unprivileged("serve", "--listen", address, env=env)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith(
        f"parakeetd: cannot listen on {address}: permission denied"
    )


def test_the_doctor_finds_a_folder_where_no_socket_may_be_made(env: dict[str, str], locked: Path) -> None:
    file = Path(env["HOME"]) / "config.toml"
    file.write_text(f'[server]\nlisten = ["unix:{locked}/new/p.sock"]\n')
    outcome = run_unprivileged("doctor", "--config", file, env=env)
    assert outcome.code == 1
    assert f"WRONG address unix:{locked}/new/p.sock: no permission to write in {locked}" in outcome.out


@pytest.mark.parametrize("command", [["models"], ["transcribe", "x.wav"]])
def test_a_folder_of_models_that_may_not_be_read_is_named(
    env: dict[str, str], models: Path, command: list[str]
) -> None:
    models.chmod(0)
    outcome = run_unprivileged(*command, "--models", models, env=env)
    assert outcome.code == 2
    assert outcome.error == f"parakeetd: the folder of models {models} cannot be read: Permission denied"


def test_the_doctor_goes_on_after_a_folder_of_models_that_may_not_be_read(
    env: dict[str, str], models: Path
) -> None:
    models.chmod(0)
    outcome = run_unprivileged("doctor", "--models", models, env=env)
    assert outcome.code == 1
    assert f"WRONG models: the folder of models {models} cannot be read" in outcome.out
    assert " address " in outcome.out.split("WRONG models", 1)[1]


@pytest.mark.parametrize("file", ["", "manifest.json", "tokens.txt"])
def test_a_model_that_may_not_be_read_is_named(env: dict[str, str], models: Path, file: str) -> None:
    (models / "mine" / file).chmod(0)
    outcome = run_unprivileged("transcribe", "--models", models, "x.wav", env=env)
    assert outcome.code == 2
    named = file or "manifest.json"
    assert (
        outcome.error == f"parakeetd: model bundle {models}/mine: {named} cannot be read: Permission denied"
    )
