"""Prints what a terminal shows of `parakeetd listen` while shipped clips are spoken into a microphone: what the README
shows. It needs tmux and PulseAudio.

    python tests/tools/listen_screen.py
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from clips import shipped_clips
from commands import PARAKEETD, home, served
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.file import read_audio
from virtual_sound import VirtualSound, virtual_sound

CLIPS = ("pauses", "digits")
WIDTH, HEIGHT = 70, 12
WORDS = range(3, 6)
"""Of the last utterance so many are shown when the picture is taken."""

PAUSE_SECONDS = 1.0


def main() -> None:
    clips = {clip.path.stem: clip for clip in shipped_clips()}
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    samples = np.concatenate([part for name in CLIPS for part in (pause, read_audio(clips[name].path))])
    finals = sum(len(clips[name].utterances) for name in CLIPS[:-1])
    with ExitStack() as undo:
        sound = undo.enter_context(virtual_sound())
        sound.plug("desk", "Desk Microphone")
        sound.make_default("desk")
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        env = home(folder) | sound.env
        address = f"unix:{sound.folder}/d.sock"
        undo.enter_context(served("--model", "demo", "--listen", address, env=env))
        terminal = screens(undo, sound, env, [*PARAKEETD, "listen", "--socket", address])
        next(screen for screen in terminal if "listening" in screen)
        speaking = undo.enter_context(sound.play(samples, "desk"))
        undo.callback(speaking.kill)
        for screen in terminal:
            lines = screen.splitlines()
            # Finals, the interim, and the line with the microphone.
            if len(lines) == finals + 2 and len(lines[-2].split()) in WORDS:
                print(screen)
                return
            if speaking.poll() is not None:
                raise SystemExit(f"all was said before it was seen:\n{screen}")


def screens(undo: ExitStack, sound: VirtualSound, env: dict[str, str], command: list[str]) -> Iterator[str]:
    """What stands in a terminal in which this runs, again and again."""
    tmux = ["tmux", "-L", f"parakeetd-{sound.folder.name}", "-f", "/dev/null"]
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    inner = shlex.join(["env", *(f"{name}={value}" for name, value in env.items()), *command])
    subprocess.run([*tmux, "new-session", "-d", *size, inner], check=True)
    undo.callback(subprocess.run, [*tmux, "kill-server"], check=False)
    while True:
        shown = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True)
        yield shown.stdout.rstrip()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
