"""Desktops that nobody sees, with a window that can be typed into."""

from __future__ import annotations

import json
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
from typing import Any

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


def needed(*programs: str, packages: str) -> None:
    """Skip where a program is not installed."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing; install it with: apt-get install {packages}")


def _python_with_tk() -> str:
    for python in (sys.executable, "/usr/bin/python3"):
        done = subprocess.run([python, "-c", "import tkinter"], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    pytest.skip("no Python with Tk; install it with: apt-get install python3-tk")


def _wait(file: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    ends = time.monotonic() + READY_SECONDS
    while not file.exists():
        assert process is None or process.poll() is None, f"{process.args!r} ended"
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
def x11() -> Iterator[tuple[dict[str, str], Path]]:
    """An X server: the environment of its clients, and a folder for them."""
    needed("Xvfb", packages="xvfb")
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
        yield {"PATH": os.environ["PATH"], "HOME": str(folder), "DISPLAY": f":{display}"}, folder


@contextmanager
def x11_window() -> Iterator[Window]:
    """A text field of Tk's on an X server."""
    needed("xdotool", "xmodmap", packages="xdotool x11-xserver-utils")
    python = _python_with_tk()
    with ExitStack() as undo:
        env, folder = undo.enter_context(x11())
        file = folder / "text"
        window = subprocess.Popen([python, SUPPORT / "text_field.py", file], env=env | {"LANG": "C.UTF-8"})
        undo.callback(_end, window)
        _wait(file, window)
        yield Window(env, file, "")


@contextmanager
def wayland_window() -> Iterator[Window]:
    """A terminal under sway, in which `cat` writes what is typed to a file, line by line."""
    needed("foot", "wtype", packages="foot wtype")
    with sway("exec foot sh -c 'stty -echo; exec cat > {folder}/text'\n") as (env, folder):
        _wait(folder / "text")
        # The shell runs before its terminal has a window; until then keys go to nobody.
        _wait_for_focus(env, "foot")
        yield Window(env, folder / "text", "\n")


def _wait_for_focus(env: dict[str, str], app: str) -> None:
    """Until what is typed goes to a window of this program's."""
    socket = next(Path(env["XDG_RUNTIME_DIR"]).glob("sway-ipc.*.sock"))
    ends = time.monotonic() + READY_SECONDS
    while app not in _focused(
        json.loads(subprocess.check_output(["swaymsg", "-s", socket, "-t", "get_tree", "-r"]))
    ):
        assert time.monotonic() < ends, f"no window of {app}'s has the keys"
        time.sleep(0.05)


def _focused(node: dict[str, Any]) -> Iterator[str]:
    """The programs whose windows have the keys, of those in a tree of sway's."""
    if node["focused"]:
        yield node.get("app_id") or ""
    for child in (*node["nodes"], *node["floating_nodes"]):
        yield from _focused(child)


@contextmanager
def sway(configuration: str, **variables: str) -> Iterator[tuple[dict[str, str], Path]]:
    """A desktop of sway's, and its folder.

    Args:
        configuration: `{folder}` stands for the folder.
        variables: of the environment of what it starts.

    Yields:
        The environment of its clients, and its folder. All that it starts runs as a user of its own, if we are root.
    """
    needed("sway", packages="sway")
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="pk-way-")))
        folder.chmod(0o700)
        prefix: list[str] = []
        if os.geteuid() == 0:
            # sway does not run for root.
            needed("setpriv", packages="util-linux")
            os.chown(folder, NOBODY, NOBODY)
            prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        config, ready = folder / "config", folder / "ready"
        config.write_text(f"{configuration.replace('{folder}', str(folder))}\nexec touch {ready}\n")
        config.chmod(0o644)
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        headless = {"WLR_BACKENDS": "headless", "WLR_RENDERER": "pixman", "WLR_LIBINPUT_NO_DEVICES": "1"}
        log = undo.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(
            [*prefix, "sway", "-c", config],
            env=env | headless | {"LANG": "C.UTF-8"} | variables,
            stdout=log,
            stderr=log,
        )
        undo.callback(_end, process)
        _wait(ready, process)
        display = next(path.name for path in folder.glob("wayland-*") if path.suffix != ".lock")
        yield env | {"WAYLAND_DISPLAY": display}, folder
