"""Clients that are too many, killed, stopped, or may not come in: the short form of `tests/bench/clients.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "clients.py"


def test_every_row_holds(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--rounds", "2", "--json", figures],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(figures.read_text())["rows"]) == 7
