"""A progress bar where somebody watches, and nowhere else. stdout never passes through it."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clips import Clip
from commands import PARAKEETD, PATIENCE_SECONDS
from parakeetd.cli.progress import LONG_SECONDS


@pytest.fixture
def long_file(tmp_path: Path, clips: dict[str, Clip]) -> Path:
    samples, rate = soundfile.read(clips["digits"].path, dtype="int16")
    times = int(2 * LONG_SECONDS * rate / len(samples))
    soundfile.write(tmp_path / "long.wav", np.tile(samples, times), rate)
    return tmp_path / "long.wav"


def on_a_terminal(arguments: list[str], env: dict[str, str], *, stdout_too: bool = False) -> tuple[str, str]:
    """Run the command with stderr on a terminal; what stdout and the terminal received."""
    terminal, side = pty.openpty()
    seen = bytearray()

    def watch() -> None:
        # A terminal whose other side is closed gives an error instead of an end.
        try:
            while data := os.read(terminal, 4096):
                seen.extend(data)
        except OSError:
            pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = subprocess.run(
            [*PARAKEETD, *arguments],
            env=env | {"TERM": "xterm", "COLUMNS": "80"},
            stdout=side if stdout_too else subprocess.PIPE,
            stderr=side,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    finally:
        os.close(side)
        watcher.join()
        os.close(terminal)
    return (done.stdout or b"").decode(), seen.decode()


def test_long_work_shows_a_bar_and_prints_past_it(
    env: dict[str, str], long_file: Path, clips: dict[str, Clip]
) -> None:
    out, seen = on_a_terminal(["transcribe", str(long_file), str(clips["stereo"].path)], env)
    first, second = out.splitlines()
    assert first.startswith(clips["digits"].nemo_text)
    assert second == clips["stereo"].nemo_text
    assert "long.wav" in seen
    assert "%" in seen
    assert clips["stereo"].nemo_text not in seen


def test_text_and_bar_share_a_terminal(env: dict[str, str], long_file: Path, clips: dict[str, Clip]) -> None:
    _, seen = on_a_terminal(["transcribe", str(long_file), str(clips["stereo"].path)], env, stdout_too=True)
    assert "%" in seen
    assert clips["stereo"].nemo_text in seen


def test_an_error_is_shown_beside_the_bar(env: dict[str, str], long_file: Path, tmp_path: Path) -> None:
    _, seen = on_a_terminal(["transcribe", "none.wav", str(long_file)], env)
    assert "none.wav: cannot be read" in seen


def test_short_work_shows_no_bar(env: dict[str, str], clips: dict[str, Clip]) -> None:
    out, seen = on_a_terminal(["transcribe", str(clips["digits"].path)], env)
    assert out == clips["digits"].nemo_text + "\n"
    assert seen == ""


def test_without_a_terminal_there_is_no_bar(env: dict[str, str], long_file: Path) -> None:
    done = subprocess.run(
        # Tools that want colour in their logs set this: it makes no terminal of a pipe.
        [*PARAKEETD, "transcribe", str(long_file)],
        env=env | {"FORCE_COLOR": "1"},
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert done.stderr == b""


def test_measuring_shows_how_far_it_is_and_the_time_left(env: dict[str, str]) -> None:
    out, seen = on_a_terminal(["calibrate", "--device", "cpu", "--seconds", "2"], env)
    assert "measuring demo" in seen
    assert "%" in seen
    assert "0:00:0" in seen
    assert out.startswith("demo on ")
