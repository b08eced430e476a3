"""The commands where Ray is missing or too old."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from parakeetd.cluster import require_ray
from parakeetd.errors import SetupError


@pytest.mark.parametrize("command", [("deploy",), ("status",), ("remove", "--address", "10.0.0.5:6379")])
def test_without_the_extra_each_command_names_it_in_one_line(command: tuple[str, ...]) -> None:
    hidden = (
        "import importlib.metadata as found, sys\n"
        "real = found.version\n"
        "def version(name):\n"
        "    if name == 'ray': raise found.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "found.version = version\n"
        "from parakeetd.cli import main\n"
        f"main(['cluster', *{command!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "parakeetd: a cluster needs Ray 2.55 or newer, which is not installed: pip install 'parakeetd[cluster]'"
    ]


@pytest.mark.parametrize("version", ["2.54.0", "1.13.0"])
def test_a_ray_that_carries_streams_one_way_only_is_refused(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    with pytest.raises(SetupError, match=rf"not {version}"):
        require_ray()


@pytest.mark.parametrize("version", ["2.55.0", "2.60.0", "3.0.0.dev0"])
def test_a_newer_one_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert require_ray() == version
