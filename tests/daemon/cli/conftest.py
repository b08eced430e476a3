"""A home of their own for the commands, and a way to run them in the test's process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands import Command, Outcome, home
from parakeetd.cli import main
from parakeetd.model.bundle import EMBEDDED


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has nothing of parakeetd's yet."""
    folder = tmp_path / "home"
    folder.mkdir()
    return home(folder)


@pytest.fixture
def parakeetd(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command in this process: `parakeetd("models", "--json")`."""
    for name in (
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
        "PARAKEETD_MODELS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", env["HOME"])

    def command(*arguments: str | Path) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(stop.value.code if isinstance(stop.value.code, int) else -1, out, err)

    return command


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models with one, called mine, that may be damaged."""
    folder = tmp_path / "models"
    shutil.copytree(EMBEDDED, folder / "mine")
    return folder
