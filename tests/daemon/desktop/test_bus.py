"""The microphone on a session bus of the tests' own, asked by other programs' clients."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from fake_sound import MONITOR, FakeSoundServer
from logind import Bus, private_bus
from parakeetd.audio.sources.microphone import Microphone
from parakeetd.desktop import INTERFACE, PATH, DesktopBus
from parakeetd.dictation import Dictation, Microphones
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.text import HouseStyle, read_tables
from parakeetd.vad import Segmentation

WAIT_SECONDS = 30.0
WHOLE = Segmentation(trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=20_000)
PROPERTIES = "org.freedesktop.DBus.Properties"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with private_bus(tmp_path) as bus:
        yield bus


class Listener:
    """What is heard on the bus from the daemon."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, list[Any]]] = []
        self._news = asyncio.Event()
        bus.add_message_handler(self._take)

    def _take(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.path == PATH:
            self.heard.append((message.member or "", message.body))
            self._news.set()

    async def until(self, member: str, *body: object) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not any(name == member and said[: len(body)] == list(body) for name, said in self.heard):
                self._news.clear()
                await self._news.wait()

    async def phase(self, wanted: str) -> None:
        """Until the property has been told to be this."""
        async with asyncio.timeout(WAIT_SECONDS):
            while wanted not in self.phases:
                self._news.clear()
                await self._news.wait()

    @property
    def phases(self) -> list[str]:
        changes = [body[1] for name, body in self.heard if name == "PropertiesChanged"]
        return [changed["Phase"].value for changed in changes if "Phase" in changed]


@asynccontextmanager
async def offered(address: str, sound: FakeSoundServer) -> AsyncIterator[Listener]:
    """A dictation that is on the bus, and one who listens there."""
    router = Router({"cpu": FakeEngine}, max_queued=64)
    sessions = Sessions(
        (ServedModel("fake", ("en-US",), router),), SessionSettings(detector="off", segmentation=WHOLE)
    )
    dictation = Dictation(
        sessions, Microphones(lambda device: Microphone(sound, device)), HouseStyle(read_tables())
    )
    bus = await MessageBus(bus_address=address).connect()
    with logged() as log:
        offering = asyncio.create_task(DesktopBus(dictation, address, again_seconds=0.05).run())
        await log.until("is on D-Bus as")
    try:
        listener = Listener(bus)
        await call(bus, "org.freedesktop.DBus", "AddMatch", "s", f"type='signal',interface='{INTERFACE}'",
                   name="org.freedesktop.DBus", path="/org/freedesktop/DBus")  # fmt: skip
        await call(bus, "org.freedesktop.DBus", "AddMatch", "s", f"type='signal',interface='{PROPERTIES}'",
                   name="org.freedesktop.DBus", path="/org/freedesktop/DBus")  # fmt: skip
        yield listener
    finally:
        offering.cancel()
        await asyncio.gather(offering, return_exceptions=True)
        bus.disconnect()
        await dictation.close(1.0)
        await asyncio.to_thread(router.close, WAIT_SECONDS)


async def call(
    bus: MessageBus,
    interface: str,
    member: str,
    signature: str = "",
    *body: object,
    name: str = INTERFACE,
    path: str = PATH,
) -> Message:
    asked = Bus(bus).call(name, path, interface, member, signature, *body)
    return await asyncio.wait_for(asked, WAIT_SECONDS)


class Logged(logging.Handler):
    """Waits for what the daemon says of its place on the bus."""

    def __init__(self) -> None:
        super().__init__()
        self._said = ""
        self._news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self._said += record.getMessage()
        self._news.set()

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while wanted not in self._said:
                self._news.clear()
                await self._news.wait()


@contextmanager
def logged() -> Iterator[Logged]:
    logger, handler = logging.getLogger("parakeetd.desktop.bus"), Logged()
    before = logger.level
    logger.setLevel("INFO")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


async def test_a_session_by_methods_signals_and_properties(address: str) -> None:
    sound = FakeSoundServer()
    async with offered(address, sound) as listener:
        starting = asyncio.create_task(call(listener.bus, INTERFACE, "Toggle"))
        (await sound.recorder()).say(1.0)
        assert (await starting).message_type is MessageType.METHOD_RETURN
        await listener.until("Interim")
        assert (await call(listener.bus, INTERFACE, "Stop")).message_type is MessageType.METHOD_RETURN
        await listener.until("Final", "1000ms", "1000ms")
        await listener.phase("idle")
        found = (await call(listener.bus, PROPERTIES, "GetAll", "s", INTERFACE)).body[0]
    assert listener.phases == ["starting", "listening", "finishing", "idle"]
    assert {name: variant.value for name, variant in found.items()} == {
        "Phase": "idle",
        "Session": 1,
        "Device": "mic",
        "Title": "Desk Microphone",
        "Muted": False,
        "Problem": "",
    }


async def test_a_microphone_that_is_not_there_is_an_error_with_a_line_for_people(address: str) -> None:
    async with offered(address, FakeSoundServer(MONITOR)) as listener:
        reply = await call(listener.bus, INTERFACE, "StartDevice", "s", "studio")
    assert reply.error_name == f"{INTERFACE}.Error.MicrophoneError"
    assert reply.body == ["microphone 'studio' is not plugged in; there is: none"]


async def test_busctl_finds_all_of_it_by_introspection(address: str) -> None:
    if not (busctl := shutil.which("busctl")):
        pytest.skip("busctl is missing: apt-get install systemd")
    async with offered(address, FakeSoundServer()):

        async def asked(*words: str) -> str:
            process = await asyncio.create_subprocess_exec(
                busctl, f"--address={address}", "--json=short", *words, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
            assert process.returncode == 0
            return out.decode()

        table = (await asked("introspect", INTERFACE, PATH, INTERFACE)).splitlines()
        members = {line.split()[0] for line in table if line}
        assert members >= {
            *(".Start", ".StartDevice", ".Stop", ".Toggle", ".Cancel"),
            *(".Interim", ".Final"),
            *(".Phase", ".Session", ".Device", ".Title", ".Muted", ".Problem"),
        }
        assert json.loads(await asked("get-property", INTERFACE, PATH, INTERFACE, "Phase"))["data"] == "idle"
        await asked("call", INTERFACE, PATH, INTERFACE, "Stop")


async def test_the_place_on_the_bus_is_taken_once_it_is_free(address: str) -> None:
    other = await MessageBus(bus_address=address).connect()
    await other.request_name(INTERFACE)
    with logged() as log:
        offering = asyncio.create_task(_offered_later(address))
        await log.until("another program has the name")
        await other.release_name(INTERFACE)
        await offering
    other.disconnect()


async def _offered_later(address: str) -> None:
    async with offered(address, FakeSoundServer()) as listener:
        reply = await call(listener.bus, PROPERTIES, "Get", "ss", INTERFACE, "Phase")
        assert reply.message_type is MessageType.METHOD_RETURN


async def test_without_a_bus_nothing_fails(tmp_path: Path) -> None:
    bus = DesktopBus(None, f"unix:path={tmp_path}/no-bus", again_seconds=WAIT_SECONDS)  # type: ignore[arg-type]
    with logged() as log:
        offering = asyncio.create_task(bus.run())
        await log.until("not on D-Bus")
    assert not offering.done()
    offering.cancel()
    await asyncio.gather(offering, return_exceptions=True)
