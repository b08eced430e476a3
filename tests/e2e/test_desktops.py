"""Keys that are pressed, and what the recipes of `daemon/DESKTOPS.md` make of that: a real daemon and microphone."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import Clip
from commands import PARAKEETD, Served, home, served
from logind import Bus, private_bus
from microphone_watch import PATIENCE_SECONDS, Watch, played, silence, watching
from parakeetd.audio.sources.file import read_audio
from parakeetd.desktop import INTERFACE
from parakeetd.dictation import State
from recipes import recipes
from virtual_sound import VirtualSound
from windows import needed, sway, x11


@dataclass
class Desk:
    """A daemon that hears a microphone and is on a session bus."""

    daemon: Served
    bus: str
    env: dict[str, str]
    """Of programs that belong to it."""

    @property
    def socket(self) -> str:
        return self.daemon.addresses[0]


@contextmanager
def on_bus(sound: VirtualSound, folder: Path) -> Iterator[Desk]:
    with ExitStack() as undo:
        # Programs of another user's, as which sway runs, are to reach the bus.
        own = sound.folder / "session"
        own.mkdir()
        sound.folder.chmod(0o711)
        bus = undo.enter_context(private_bus(own))
        env = home(folder) | sound.env | {"DBUS_SESSION_BUS_ADDRESS": bus}
        address = f"unix:{sound.folder}/d.sock"
        yield Desk(undo.enter_context(served("--model", "demo", "--listen", address, env=env)), bus, env)


@pytest.fixture
async def desk(sound: VirtualSound, tmp_path: Path) -> AsyncIterator[Desk]:
    with on_bus(sound, tmp_path) as there:
        # It comes to the bus at about the time at which it is ready.
        bus = await Bus.at(there.bus)
        for _ in range(600):
            found = ("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s", INTERFACE)
            if (await bus.call(*found)).body[0]:
                break
            await asyncio.sleep(0.05)
        bus.connection.disconnect()
        yield there


HELD_MS = (1000, 4000, 16_000)
"""How long a key is held: longer if the machine is so slow that nothing was heard of it meanwhile."""


async def press(env: dict[str, str], *keys: str) -> None:
    process = await asyncio.create_subprocess_exec("wtype", *keys, env=env)
    assert await process.wait() == 0


def phases(watch: Watch, begin: int) -> list[str]:
    return [event.phase for _, event in watch.events[begin:] if isinstance(event, State)]


async def test_sway_listens_while_a_key_is_held_and_another_one_switches(desk: Desk) -> None:
    needed("wtype", "busctl", packages="wtype systemd")
    configuration = recipes()["sway"].replace("exec parakeetd", "# ")
    with sway(configuration, DBUS_SESSION_BUS_ADDRESS=desk.bus) as (env, _):
        async with watching(desk.socket) as watch:
            for release in (("-p", "y", "-m", "logo"), ("-m", "logo", "-p", "y")):
                begin = 0
                for held in HELD_MS:
                    begin = len(watch.events)
                    await press(env, "-M", "logo", "-P", "y", "-s", str(held), *release)
                    await watch.phase("idle", begin)
                    if "listening" in phases(watch, begin):
                        break
                assert "listening" in phases(watch, begin), release
            for wanted in ("listening", "idle"):
                begin = len(watch.events)
                await press(env, "-M", "logo", "-M", "shift", "-k", "y", "-m", "shift", "-m", "logo")
                await watch.phase(wanted, begin)


async def test_plasma_toggles_at_the_key_that_its_file_names(desk: Desk) -> None:
    needed("xdotool", packages="xdotool")
    needed("kglobalaccel5", packages="libkf5globalaccel-bin")
    with x11() as (env, folder):
        file = folder / "share" / "kglobalaccel" / "parakeetd-toggle.desktop"
        file.parent.mkdir(parents=True)
        file.write_text(recipes()["kde"])
        own = {"XDG_DATA_HOME": f"{folder}/share", "XDG_CONFIG_HOME": f"{folder}/config"}
        session = env | own | {"DBUS_SESSION_BUS_ADDRESS": desk.bus, "QT_QPA_PLATFORM": "xcb"}
        plasma = await asyncio.create_subprocess_exec("kglobalaccel5", env=session, stderr=DEVNULL)
        try:
            async with watching(desk.socket) as watch:
                await _component(desk.bus)
                for wanted in ("listening", "idle"):
                    begin = len(watch.events)
                    key = await asyncio.create_subprocess_exec("xdotool", "key", "super+y", env=env)
                    assert await key.wait() == 0
                    await watch.phase(wanted, begin)
        finally:
            plasma.terminate()
            await plasma.wait()


async def _component(address: str) -> None:
    """Wait until Plasma knows our key."""
    bus = Bus((await Bus.at(address)).connection)
    name = "org.kde.kglobalaccel"
    for _ in range(600):
        reply = await bus.call(name, "/kglobalaccel", "org.kde.KGlobalAccel", "allComponents")
        if any("parakeetd" in path for part in reply.body for path in part):
            break
        await asyncio.sleep(0.05)
    bus.connection.disconnect()


@dataclass
class Module:
    process: Process
    click: list[str]

    async def until(self, stands: str) -> dict[str, Any]:
        """The line that says so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := await self.process.stdout.readline():
                if (told := json.loads(line))["class"] == stands:
                    assert {type(value) for value in told.values()} == {str}
                    return dict(told)
        raise AssertionError(f"it ended before {stands}")


@asynccontextmanager
async def waybar(desk: Desk) -> AsyncIterator[Module]:
    """The command of the recipe, run as Waybar runs it."""
    module = json.loads(recipes()["waybar"])["custom/dictation"]
    program, *rest = shlex.split(module["exec"])
    assert program == "parakeetd"
    process = await asyncio.create_subprocess_exec(
        *PARAKEETD, *rest, "--socket", desk.socket, env=desk.env, stdout=PIPE
    )
    try:
        yield Module(process, ["sh", "-c", module["on-click"]])
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_the_module_of_waybar_follows_clicks_and_outlives_the_daemon(desk: Desk) -> None:
    needed("busctl", packages="systemd")
    async with waybar(desk) as module:
        tooltips = [(await module.until("idle"))["tooltip"]]
        for stands in ("listening", "idle"):
            click = await asyncio.create_subprocess_exec(*module.click, env=desk.env)
            assert await click.wait() == 0
            tooltips.append((await module.until(stands))["tooltip"])
        assert tooltips == ["closed", "listening: mic-for-tests", "closed"]
        desk.daemon.process.kill()
        await module.until("absent")
        with served("--model", "demo", "--listen", desk.socket, env=desk.env):
            await module.until("idle")


async def test_listen_tells_programs_what_happens_and_keeps_captions_in_a_file(
    sound: VirtualSound, socket: str, clips: dict[str, Clip], transcribed: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "captions.txt"
    command = ["listen", "--format", "json", "--levels", "--captions", str(file), "--socket", socket]
    samples = await asyncio.to_thread(read_audio, clips["pauses"].path)
    async with watching(socket) as watch:
        listening = await asyncio.create_subprocess_exec(
            *PARAKEETD, *command, env=home(tmp_path) | sound.env, stdout=PIPE
        )
        assert listening.stdout is not None
        try:
            await watch.phase("listening", 0)
            said = asyncio.create_task(played(sound, np.concatenate([silence(0.3), samples])))
            events: list[dict[str, Any]] = []
            while not said.done() or not any(event["event"] == "final" for event in events):
                line = await asyncio.wait_for(listening.stdout.readline(), PATIENCE_SECONDS)
                events.append(json.loads(line))
            # The last words are still there to be read.
            captions = file.read_text(encoding="utf-8").split()
            listening.send_signal(signal.SIGINT)
            out, _ = await asyncio.wait_for(listening.communicate(), PATIENCE_SECONDS)
        finally:
            if listening.returncode is None:
                listening.kill()
    events += map(json.loads, out.decode().splitlines())
    text = transcribed["pauses"]["text"]
    assert "".join(event["added"] for event in events if event["event"] == "final").strip() == text
    assert {event["event"] for event in events} == {"state", "level", "interim", "final"}
    assert events[-1]["phase"] == "idle"
    assert captions
    assert set(captions) <= {word for event in events for word in event.get("text", "").split()}
    assert (listening.returncode, file.read_text()) == (0, "")
