"""Desktops that nobody sees, with a window that can be typed into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parent

READY_SECONDS = 60.0

NOBODY = 65534


@dataclass
class Window:
    env: dict[str, str]
    """For those who are to type into it."""
    file: Path
    """Has its text."""
    ends: str
    """What must be typed before a line is in the file."""

    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")

    def wait_for(self, text: str, seconds: float = READY_SECONDS) -> str:
        """Its text, once it is this, or once it has had so long to become it."""
        ends = time.monotonic() + seconds
        while self.text() != text and time.monotonic() < ends:
            time.sleep(0.05)
        return self.text()


def _needed(*programs: str, packages: str) -> None:
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing; install it with: apt-get install {packages}")


def _python_with_tk() -> str:
    for python in (sys.executable, "/usr/bin/python3"):
        done = subprocess.run([python, "-c", "import tkinter"], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    pytest.skip("no Python with Tk; install it with: apt-get install python3-tk")


def _wait(file: Path, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + READY_SECONDS
    while not file.exists():
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < ends, f"{file} did not appear"
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def x11_window() -> Iterator[Window]:
    """A text field of Tk's on an X server."""
    _needed("Xvfb", "xdotool", "xmodmap", packages="xvfb xdotool x11-xserver-utils")
    python = _python_with_tk()
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="pk-x11-")))
        out, into = os.pipe()
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(into), "-screen", "0", "800x600x24"],
            pass_fds=(into,),
            stderr=subprocess.DEVNULL,
        )
        undo.callback(_end, server)
        os.close(into)
        with os.fdopen(out) as said:
            display = said.readline().strip()
        assert display, "Xvfb did not start"
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "DISPLAY": f":{display}"}
        file = folder / "text"
        window = subprocess.Popen([python, SUPPORT / "text_field.py", file], env=env | {"LANG": "C.UTF-8"})
        undo.callback(_end, window)
        _wait(file, window)
        yield Window(env, file, "")


@contextmanager
def wayland_window() -> Iterator[Window]:
    """A terminal under sway, in which `cat` writes what is typed to a file, line by line."""
    _needed("sway", "foot", "wtype", packages="sway foot wtype")
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="pk-way-")))
        folder.chmod(0o700)
        prefix: list[str] = []
        if os.geteuid() == 0:
            # sway does not run for root.
            _needed("setpriv", packages="util-linux")
            os.chown(folder, NOBODY, NOBODY)
            prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        file = folder / "text"
        config = folder / "config"
        config.write_text(f"exec foot sh -c 'stty -echo; exec cat > {file}'\n")
        config.chmod(0o644)
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        headless = {"WLR_BACKENDS": "headless", "WLR_RENDERER": "pixman", "WLR_LIBINPUT_NO_DEVICES": "1"}
        log = undo.enter_context((folder / "log").open("wb"))
        sway = subprocess.Popen(
            [*prefix, "sway", "-c", config], env=env | headless | {"LANG": "C.UTF-8"}, stdout=log, stderr=log
        )
        undo.callback(_end, sway)
        _wait(file, sway)
        display = next(path.name for path in folder.glob("wayland-*") if path.suffix != ".lock")
        yield Window(env | {"WAYLAND_DISPLAY": display}, file, "\n")
