"""The unit files: what systemd says of them, and how they fit an installation."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from parakeetd.setup.places import SYSTEM_ENVIRONMENT, UNIT
from parakeetd.setup.units import quoted, shipped, unit_text

MAX_EXPOSURE = 2.0
"""Of 10, as `systemd-analyze security` scores what a service could reach."""


def lines(text: str, key: str) -> list[str]:
    return [line.removeprefix(f"{key}=") for line in text.splitlines() if line.startswith(f"{key}=")]


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


@pytest.fixture(params=[True, False], ids=["system", "user"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit as an installation writes it, for a command that is there."""
    file = tmp_path / UNIT
    file.write_text(unit_text(system=request.param, command=["/bin/true"], environment={"A": "b c"}))
    return file


def test_systemd_has_nothing_to_say_of_it(
    unit: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    manager = ["--system"] if "[system]" in request.node.name else ["--user"]
    done = analyze(*manager, "--man=no", "verify", str(unit))
    # An unknown key is said and is no failure.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_says_what_is_wrong_with_a_unit(tmp_path: Path) -> None:
    file = tmp_path / UNIT
    text = unit_text(system=True, command=["/bin/true"], environment={})
    file.write_text(text.replace("ProtectHome=yes", "ProtectHomes=yes"))
    assert "ProtectHomes" in analyze("--man=no", "verify", str(file)).stderr


def test_the_system_service_reaches_little(tmp_path: Path) -> None:
    file = tmp_path / UNIT
    file.write_text(unit_text(system=True, command=["/bin/true"], environment={}))
    done = analyze("--no-pager", "security", "--offline=true", str(file))
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(exposure) <= MAX_EXPOSURE


def test_the_system_unit_finds_what_the_installation_wrote() -> None:
    (line,) = lines(shipped(system=True), "Environment")
    assert dict(word.split("=", 1) for word in line.split()) == SYSTEM_ENVIRONMENT


@pytest.mark.parametrize("system", [True, False])
def test_it_is_ready_watched_and_ended_as_the_daemon_needs(system: bool) -> None:
    text = shipped(system=system)
    assert lines(text, "Type") == ["notify"]
    # Streams have 10 s, what was accepted 5 s and the workers 2 s.
    assert int(*lines(text, "TimeoutStopSec")) > 17
    # A child process must not hear SIGTERM before its segments are answered.
    assert lines(text, "KillMode") == ["mixed"]
    assert int(*lines(text, "WatchdogSec")) >= 10
    # Exit code 2: wrong input, which a restart does not mend.
    assert lines(text, "RestartPreventExitStatus") == ["2"]


def test_an_installation_runs_its_own_command_with_its_own_variables() -> None:
    text = unit_text(
        system=False,
        command=["/home/me/my env/bin/python", "-m", "parakeetd.cli"],
        environment={"PARAKEETD_MODELS": '/data/50% "best"'},
    )
    assert lines(text, "ExecStart") == ['"/home/me/my env/bin/python" -m parakeetd.cli serve']
    assert lines(text, "Environment") == [r'"PARAKEETD_MODELS=/data/50%% \"best\""']


def test_a_dollar_is_no_variable() -> None:
    assert quoted("/a$b", command=True) == '"/a$$b"'
    assert quoted("A=/a$b") == '"A=/a$b"'


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/opt/parakeetd/bin/parakeetd", "/opt/parakeetd/bin/parakeetd"),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("back\\slash", '"back\\\\slash"'),
        ("", '""'),
    ],
)
def test_words_are_written_as_systemd_reads_them(word: str, written: str) -> None:
    assert quoted(word) == written


def test_the_folder_for_packagers_has_the_same_units() -> None:
    folder = Path(__file__).resolve().parents[3] / "systemd"
    if not folder.is_dir():
        pytest.skip("not a source tree")
    assert (folder / "system" / UNIT).read_text() == shipped(system=True)
    assert (folder / "user" / UNIT).read_text() == shipped(system=False)
