"""The throw-away environment: what is installed into it, what runs in it, and that it is always removed."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path

import pytest

from parakeetd.model.bundle import find_bundle
from parakeetd_convert.isolated import IsolationError, convert_isolated, pack, remove_dead

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"

# Stands for `python` on both sides: it makes an "environment" that is a copy of itself, and writes down what it is
# asked for. PIP and CONVERT in the environment say what it does as these.
PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >> "$LOG"
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip "*) eval "$PIP" ;;
  *"-m parakeetd_convert "*) eval "$CONVERT" ;;
esac
"""

RUN = """
import os, sys
from contextlib import nullcontext
from parakeetd_convert.isolated import convert_isolated
sys.executable = os.environ["STUB"]
sys.exit(convert_isolated(sys.argv[1:], lambda title: nullcontext(), os.environ))
"""


class Stub:
    """A Python whose pip and whose conversion are a line of shell each."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "stub-python"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)
        self.log = folder / "log"
        self.cache = folder / "cache"
        self.environments = self.cache / "parakeetd"

    def environment(self, pip: str = "true", convert: str = "true", **more: str) -> dict[str, str]:
        ours = {
            "LOG": str(self.log),
            "PIP": pip,
            "CONVERT": convert,
            "STUB": str(self.python),
            "XDG_CACHE_HOME": str(self.cache),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        return {**os.environ, **ours, **more}

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()

    def left(self) -> list[str]:
        return sorted(path.name for path in self.environments.iterdir())


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub(tmp_path)
    monkeypatch.setattr(sys, "executable", str(stub.python))
    monkeypatch.setenv("XDG_CACHE_HOME", str(stub.cache))
    return stub


@pytest.fixture
def outside(tmp_path: Path) -> Stub:
    """For runs in a process of their own."""
    return Stub(tmp_path)


def test_torch_comes_first_and_by_its_version_then_the_extra_then_the_conversion(stub: Stub) -> None:
    assert convert_isolated(["m.nemo", "--force"], nullcontext, stub.environment()) == 0
    venv, torch, extra, convert = stub.asked()
    assert venv.startswith("-m venv ")
    pip = "-m pip install --quiet --no-cache-dir --disable-pip-version-check"
    assert torch == f"{pip} torch==2.13.0"
    assert extra.startswith(f"{pip} ")
    assert extra.endswith(f"parakeetd-{metadata.version('parakeetd')}-py3-none-any.whl[convert]")
    assert convert == "-P -W ignore -m parakeetd_convert m.nemo --force"


def test_a_variable_says_what_pip_installs_first(stub: Stub) -> None:
    environment = stub.environment(PARAKEETD_TORCH="torch==2.9.1 --find-links '/my wheels'")
    convert_isolated(["m.nemo"], nullcontext, environment)
    assert stub.asked()[1].endswith("check torch==2.9.1 --find-links /my wheels")


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_conversions_exit_code_is_passed_on_and_the_environment_removed(stub: Stub, code: int) -> None:
    environment = stub.environment(convert=f"exit {code}")
    assert convert_isolated(["m.nemo"], nullcontext, environment) == code
    assert stub.left() == []


def test_libraries_of_the_outer_python_are_not_seen_and_leftovers_lie_inside(stub: Stub) -> None:
    seen = stub.cache / "seen"
    environment = stub.environment(convert=f'echo "$PYTHONPATH|$TMPDIR" > {seen}; test -d "$TMPDIR"')
    assert convert_isolated(["m.nemo"], nullcontext, environment) == 0
    path, temporary = seen.read_text().strip().split("|")
    assert path == ""
    assert temporary.startswith(str(stub.environments / "isolated-"))


def test_what_pip_says_is_passed_on_in_one_line_and_the_environment_removed(stub: Stub) -> None:
    environment = stub.environment(pip="echo 'ERROR: No matching distribution' >&2; echo hint >&2; exit 1")
    with pytest.raises(IsolationError, match="pip says: ERROR: No matching distribution; ") as caught:
        convert_isolated(["m.nemo"], nullcontext, environment)
    assert "$PARAKEETD_TORCH" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stub.left() == []
    assert len(stub.asked()) == 2


def test_an_environment_cannot_be_made_of_a_parakeetd_that_is_no_package(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(IsolationError, match="pip install parakeetd"):
        convert_isolated(["m.nemo"], nullcontext, stub.environment())
    assert stub.left() == []


def begin(stub: Stub, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a run and wait until its pip or conversion says, by a file, that it is under way."""
    process = subprocess.Popen([sys.executable, "-c", RUN, "m.nemo"], env=environment)
    started = stub.cache.parent / "started"
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("child", ["pip", "convert"])
def test_the_environment_of_a_run_that_was_killed_is_removed_once_its_child_is_gone_too(
    outside: Stub, child: str
) -> None:
    started = outside.cache.parent / "started"
    environment = outside.environment(
        **{child: f"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 60"}
    )
    process = begin(outside, environment)
    try:
        remove_dead(outside.environments)
        assert len(outside.left()) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        remove_dead(outside.environments)
        assert len(outside.left()) == 1
    finally:
        process.kill()
        os.kill(int(started.read_text()), signal.SIGKILL)
    # The lock goes with the last process that has it, which may take the system a moment.
    while outside.left():
        remove_dead(outside.environments)


def test_the_next_run_removes_what_a_killed_one_left(stub: Stub) -> None:
    dead = stub.environments / "isolated-01234567" / "venv"
    dead.mkdir(parents=True)
    assert convert_isolated(["m.nemo"], nullcontext, stub.environment()) == 0
    assert stub.left() == []


def test_the_wheel_is_what_runs_here_with_its_requirements(tmp_path: Path) -> None:
    wheel = pack(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        [info] = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        described = archive.read(f"{info}/METADATA").decode()
        rows = [line.rsplit(",", 2) for line in archive.read(f"{info}/RECORD").decode().splitlines()]
        assert {row[0] for row in rows} == names
        for path, digest, size in rows[:-1]:
            content = archive.read(path)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={expected}", len(content))
    assert "Provides-Extra: convert" in described
    assert "parakeetd_convert/isolated.py" in names
    assert "parakeetd/embedded/demo/manifest.json" in names
    assert "parakeetd_proto/__init__.py" in names
    assert not [name for name in names if "__pycache__" in name]


def test_pip_installs_the_wheel(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*words, str(tmp_path / "site"), str(pack(tmp_path))], check=True)
    script = "import parakeetd_convert.cli as cli, sys; print(cli.__file__)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "site" / "parakeetd_convert" / "cli.py")


@pytest.mark.slow
def test_the_demo_model_is_converted_and_nothing_of_the_toolchain_stays(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [sys.executable, "-m", "parakeetd_convert", str(DEMO), "--name", "mine", "--isolated"]
    done = subprocess.run(
        [*words, "--models", str(tmp_path / "models")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = find_bundle("mine", tmp_path / "models")
    assert made.manifest.precisions == ("fp32", "int8", "fp16")
    assert made.manifest.verification
    assert not list((tmp_path / "cache" / "parakeetd").glob("isolated-*"))
