"""The microphone's calls, over the wire, with a sound server without sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from fake_sound import MONITOR, FakeSoundServer
from parakeetd.audio.sources.microphone import Microphone
from parakeetd.dictation import Dictation, Event, Final, Interim, Loudness, Microphones, State
from parakeetd.errors import CallFailed, InputError
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.microphone import event_message, read_event
from parakeetd.rpc.remote import RemoteMicrophone
from parakeetd.rpc.standing import Standing
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.text import HouseStyle, read_tables
from parakeetd.vad import Segmentation
from parakeetd_proto import control_pb2 as control
from parakeetd_proto import control_pb2_grpc

WAIT_SECONDS = 20.0
WHOLE = Segmentation(trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=20_000)


class NoSteward:
    """Only says how it stands."""

    def standing(self) -> Standing:
        return Standing("serving", "demo", "1.2", 7, 8.5, (), (), 0, 0, 0, "")

    def installed(self) -> list[object]:
        return []

    async def load(self, name: str) -> object:
        raise InputError("not here")

    async def unload(self, name: str) -> None:
        raise InputError("not here")

    async def reload(self, default: str = "") -> object:
        raise InputError("not here")


@asynccontextmanager
async def daemon(folder: Path, sound: FakeSoundServer) -> AsyncIterator[RpcServer]:
    router = Router({"cpu": FakeEngine}, max_queued=64)
    sessions = Sessions(
        (ServedModel("fake", ("en-US",), router),), SessionSettings(detector="off", segmentation=WHOLE)
    )
    microphones = Microphones(lambda device: Microphone(sound, device))
    house = HouseStyle(read_tables())
    dictation = Dictation(sessions, microphones, house)
    addresses = (f"unix:{folder}/d.sock", "127.0.0.1:0")
    server = RpcServer(sessions, addresses, house, NoSteward(), dictation=dictation)  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await dictation.close(1.0)
        await server.drain(0.1, 2)
        await asyncio.to_thread(router.close, WAIT_SECONDS)


async def seen_until(remote: RemoteMicrophone, phase: str, ready: asyncio.Event) -> list[Event]:
    """Events up to the second state with this phase: the first one is how it stood."""
    seen: list[Event] = []
    async with asyncio.timeout(WAIT_SECONDS), aclosing(remote.watch(levels=True)) as events:
        async for event in events:
            seen.append(event)
            ready.set()
            if len(seen) > 1 and isinstance(event, State) and event.phase == phase:
                return seen
    raise AssertionError(f"the watch ended; it saw {seen}")


async def test_a_session_is_started_watched_and_stopped(tmp_path: Path) -> None:
    sound = FakeSoundServer()
    async with (
        daemon(tmp_path, sound) as server,
        RemoteMicrophone(server.addresses[0]) as remote,
        RemoteMicrophone(server.addresses[0]) as other,
    ):
        ready = [asyncio.Event(), asyncio.Event()]
        watches = [
            asyncio.create_task(seen_until(remote, "idle", ready[0])),
            asyncio.create_task(seen_until(other, "idle", ready[1])),
        ]
        for event in ready:
            await asyncio.wait_for(event.wait(), WAIT_SECONDS)
        starting = asyncio.create_task(remote.toggle())
        (await sound.recorder()).say(1.0)
        state = await starting
        assert (state.phase, state.device, state.title) == ("listening", "mic", "Desk Microphone")
        assert (await remote.stop()).phase == "idle"
        for seen in await asyncio.gather(*watches):
            (final,) = [event for event in seen if isinstance(event, Final)]
            assert (final.text, final.added, final.start) == ("1000ms", "1000ms", 0.0)
            assert any(isinstance(event, Loudness) for event in seen)


async def test_the_status_tells_of_the_microphone(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, FakeSoundServer()) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        status = await control_pb2_grpc.ControlStub(channel).Status(control.StatusRequest())
    assert status.microphone.phase == control.MicrophoneState.IDLE


async def test_a_microphone_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, FakeSoundServer(MONITOR)) as server,
        RemoteMicrophone(server.addresses[0]) as remote,
    ):
        with pytest.raises(CallFailed, match=r"^no microphone is plugged in$"):
            await remote.start()
        with pytest.raises(CallFailed, match="'studio' is not plugged in; there is: none"):
            await remote.start("studio")


async def test_a_cancelled_session_is_told_to_be_over(tmp_path: Path) -> None:
    sound = FakeSoundServer()
    async with daemon(tmp_path, sound) as server, RemoteMicrophone(server.addresses[0]) as remote:
        starting = asyncio.create_task(remote.start())
        (await sound.recorder()).say(1.0)
        await starting
        assert (await remote.cancel()).phase == "idle"


@pytest.mark.parametrize("call", ["Start", "Stop", "Toggle", "Cancel"])
async def test_who_reaches_only_the_tcp_port_cannot_switch_the_microphone(tmp_path: Path, call: str) -> None:
    async with (
        daemon(tmp_path, FakeSoundServer()) as server,
        grpc.aio.insecure_channel(server.addresses[1]) as channel,
    ):
        stub = control_pb2_grpc.ControlStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await getattr(stub, call)(getattr(control, f"{call}Request")())
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in stub.Watch(control.WatchRequest()):
                pass
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "event",
    [
        State("interrupted", 3, "mic", "Tischmikrofon", True, "suspended"),
        Interim(3, "grüß", 0.5),
        Final(3, "Gott", " Gott", 1.5, 2.5),
    ],
)
def test_what_is_told_arrives_as_it_was(event: Event) -> None:
    assert read_event(event_message(event)) == event


def test_an_event_of_a_newer_daemon_is_passed_over() -> None:
    assert read_event(control.WatchResponse()) is None
