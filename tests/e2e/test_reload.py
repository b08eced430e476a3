"""Models are switched under real streams through the real server. `tests/bench/reload.py` is the long form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "bench" / "reload.py"


def test_streams_and_memory_are_as_they_were_after_models_were_switched_under_them(tmp_path: Path) -> None:
    file = tmp_path / "reload.json"
    command = [
        sys.executable,
        str(BENCH),
        "--rounds",
        "3",
        "--streams",
        "2",
        "--pace",
        "4",
        "--json",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())
    assert (figures["rounds"], figures["wrong"]) == (3, [])
    assert figures["finals"] > 0
