from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_an_installation_without_extras_stays_under_the_limit() -> None:
    script = Path(__file__).with_name("installed_size.py")
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
