"""`parakeetd install` and `uninstall` as commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from commands import Command
from systemd_stand_in import Systemd


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    made = Systemd.at(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    return made


def test_a_user_installs_and_removes_the_service(
    systemd: Systemd, parakeetd: Command, env: dict[str, str]
) -> None:
    unit = Path(env["HOME"]) / ".config/systemd/user/parakeetd.service"
    installed = parakeetd("install", "--model", "demo", "--no-calibrate")
    assert (installed.code, installed.err) == (0, "")
    assert "the service serves demo" in installed.out
    assert "next:" in installed.out
    assert unit.exists()
    removed = parakeetd("uninstall", "--purge")
    assert (removed.code, removed.err) == (0, "")
    assert not unit.exists()
    assert not (Path(env["HOME"]) / ".config/parakeetd").exists()


def test_a_start_that_fails_is_one_line_and_a_failure(systemd: Systemd, parakeetd: Command) -> None:
    systemd.have(fails=("restart",))
    outcome = parakeetd("install", "--model", "demo", "--no-calibrate")
    assert outcome.code == 1
    assert outcome.error.startswith("parakeetd: the service did not become ready")
    assert "it is in use" in outcome.out


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_the_machines_service_is_for_root(
    systemd: Systemd, parakeetd: Command, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    outcome = parakeetd(command, "--system")
    assert outcome.code == 2
    assert "run it as root" in outcome.error
    assert systemd.calls == []


def test_an_installation_that_the_machines_service_could_not_see_is_refused(
    systemd: Systemd, parakeetd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("sys.executable", "/home/me/venv/bin/python")
    outcome = parakeetd("install", "--system", "--model", "demo")
    assert outcome.code == 1
    assert "does not see /home/me/venv/bin/python" in outcome.error
    assert "/opt/parakeetd" in outcome.error
    assert systemd.calls == []
