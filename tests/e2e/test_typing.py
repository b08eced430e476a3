"""Typing into real windows: a text field under X11, a terminal under a Wayland compositor."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import Clip
from commands import PARAKEETD, home, served
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.file import read_audio
from parakeetd.keyboard import Session, Typist, ways_of
from parakeetd.keyboard.choice import applied
from virtual_sound import virtual_sound
from windows import Window, needed, sway, wayland_window, x11, x11_window

FINALS = (
    "Grüße aus Århus, ça va? Le cœur naïf: déjà vu.",
    " „Zitat“ – 10 €, ñandú, łódź, žluťoučký kůň.",
    " Привет, мир! Καλημέρα κόσμε.",
    " 😀 🎉 👍",
    "\b\b\b🚀 and plain again, -- as it is; $HOME `id` \\n %s",
    " ÄÖÜäöüß" * 20,
)

DESKTOPS: dict[str, tuple[Callable[[], AbstractContextManager[Window]], Session]] = {
    "xdotool": (x11_window, Session(x11=True)),
    "wtype": (wayland_window, Session(wayland=True)),
}


@pytest.fixture(params=list(DESKTOPS))
def desktop(request: pytest.FixtureRequest) -> Iterator[tuple[str, Window, Session]]:
    window, session = DESKTOPS[request.param]
    with window() as opened:
        yield request.param, opened, session


async def test_a_text_arrives_exactly_and_in_order(
    desktop: tuple[str, Window, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, window, session = desktop
    for key, value in window.env.items():
        monkeypatch.setenv(key, value)
    typist = Typist(ways_of(session), pytest.fail)
    await typist.begin()
    assert typist.way is not None
    assert typist.way.name == name
    wanted = ""
    for _ in range(3):
        for final in FINALS:
            await typist.type(final)
            wanted = applied(wanted, final)
        if window.ends:
            await typist.type(window.ends)
            wanted += window.ends
    assert await asyncio.to_thread(window.wait_for, wanted) == wanted
    await typist.close()


@pytest.mark.parametrize(
    ("desktop_of", "kind", "paste"),
    [
        (x11, Session(x11=True), ("xclip", "-o", "-selection", "clipboard")),
        (partial(sway, ""), Session(wayland=True), ("wl-paste", "--no-newline")),
    ],
    ids=["xclip", "wl-copy"],
)
async def test_a_text_for_the_clipboard_can_be_pasted_exactly(
    desktop_of: Callable[[], AbstractContextManager[tuple[dict[str, str], Path]]],
    kind: Session,
    paste: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed(paste[0], packages="xclip wl-clipboard")
    with desktop_of() as (env, _):
        for key, value in env.items():
            monkeypatch.setenv(key, value)
        typist = Typist(ways_of(kind, ("clipboard",)), pytest.fail)
        await typist.begin()
        typist.fresh()
        wanted = ""
        for final in FINALS:
            await typist.type(final)
            wanted = applied(wanted, final)
            assert await _pasted(paste, wanted) == wanted
        typist.fresh()
        await typist.type("another session")
        assert await _pasted(paste, "another session") == "another session"
        await typist.close()


async def _pasted(command: tuple[str, ...], wanted: str) -> str:
    """What is in the clipboard, once it is this: xclip takes it over when it has been left in the background."""
    text = ""
    for _ in range(100):
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        text = (await process.communicate())[0].decode()
        if text == wanted:
            break
        await asyncio.sleep(0.05)
    return text


def test_what_is_said_is_typed(clips: dict[str, Clip], transcribed: dict[str, Any], tmp_path: Path) -> None:
    with virtual_sound() as sound, x11_window() as window:
        env = home(tmp_path) | sound.env | {"DISPLAY": window.env["DISPLAY"]}
        samples = read_audio(clips["pauses"].path)
        silence = np.zeros(SAMPLE_RATE // 2, np.float32)
        with served("--model", "demo", "--listen", f"unix:{sound.folder}/d.sock", env=env) as daemon:
            command = [*PARAKEETD, "dictate", "--socket", daemon.addresses[0]]
            with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as dictate:
                assert dictate.stderr is not None
                said = iter(dictate.stderr.readline, "")
                assert next(said) == "typing with: xdotool\n"
                assert any(line.startswith("listening: ") for line in said)
                assert sound.play(np.concatenate([silence, samples]), "mic").wait(60) == 0
                dictate.send_signal(signal.SIGINT)
                assert dictate.wait(60) == 0
        wanted = transcribed["pauses"]["text"]
        assert window.wait_for(wanted) == wanted
