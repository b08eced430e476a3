"""A systemd in place of the machine's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from systemd_stand_in import Systemd


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    made = Systemd.at(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    return made
