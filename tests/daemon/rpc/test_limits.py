"""How many streams, calls and connections there may be: each limit is told by name and value, and leaves the other
clients alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parakeetd.audio import SAMPLE_RATE
from parakeetd.entrance.limits import CallLimits
from parakeetd.errors import Overloaded
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.gate import client_of
from parakeetd.session import HERE, Client, Places, SessionSettings
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from wire import Daemon, Serving, chunks, opening, pcm, sessions_of, speech

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

LATE = grpc.StatusCode.DEADLINE_EXCEEDED


async def healthy(daemon: Daemon) -> bool:
    # The published annotations know neither its methods nor asynchronous channels.
    stub: Any = getattr(health_pb2_grpc, "HealthStub")(daemon.client.channel)  # noqa: B009
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    serving: bool = answer.status == health_pb2.HealthCheckResponse.SERVING
    return serving


async def test_one_stream_more_than_the_limit_is_refused_and_health_stays(serving: Serving) -> None:
    async with serving(settings=SessionSettings(max_streams=3)) as daemon:
        calls = [daemon.client.stream() for _ in range(3)]
        for call in calls:
            await call.write(opening())
        await daemon.sessions.until(lambda: daemon.sessions.active == 3)
        assert await daemon.client.refusal(opening()) == (
            EXHAUSTED,
            "3 streams are open, the limit is 3 (limits.max_streams); try again later",
        )
        with pytest.raises(grpc.aio.AioRpcError, match=r"limits\.max_streams"):
            await daemon.client.stub.Recognize(asr.RecognizeRequest(config=pcm(), audio=speech(0.2)))
        assert await healthy(daemon)
        calls[0].cancel()
        await daemon.sessions.until(lambda: daemon.sessions.active == 2)
        assert await daemon.client.text(speech(0.5)) == "500ms"


async def test_a_stream_without_a_configuration_takes_a_place_and_is_ended(serving: Serving) -> None:
    async with serving(settings=SessionSettings(max_streams=1, idle_seconds=0.5)) as daemon:
        mute = daemon.client.stream()
        await daemon.sessions.until(lambda: daemon.sessions.active == 1)
        code, message = await daemon.client.refusal(opening())
        assert (code, "limits.max_streams" in message) == (EXHAUSTED, True)
        end = await mute.ending()
        assert await daemon.client.text(speech(0.5)) == "500ms"
    assert (end.code, "limits.idle_seconds" in end.message) == (LATE, True)


async def test_audio_that_waits_too_long_lets_nobody_else_in(serving: Serving) -> None:
    gate = threading.Event()
    settings = SessionSettings(
        max_queued_seconds=2.0, detector="off", segmentation=Segmentation(max_segment_ms=2_000, overlap_ms=0)
    )
    async with serving(FakeEngine(gate=gate), settings=settings) as daemon:
        call = daemon.client.stream()
        await call.write(opening())
        for request in chunks(speech(4.0), 6400):
            await call.write(request)
        await daemon.sessions.until(lambda: daemon.sessions.heard_samples > 3 * SAMPLE_RATE)
        code, message = await daemon.client.refusal(opening())
        gate.set()
        call.done_writing()
        assert (await call.ending()).code is grpc.StatusCode.OK
        assert daemon.sessions.queued_seconds == 0
        assert await daemon.client.text(speech(0.5)) == "500ms"
    assert code is EXHAUSTED
    assert "s of audio wait to be recognised, the limit is 2 s (limits.max_queued_seconds)" in message


async def test_calls_that_are_no_streams_have_a_limit_too_and_the_health_check_has_none(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parakeetd.rpc.gate.OTHER_CALLS", 2)
    async with serving() as daemon:
        stub: Any = getattr(health_pb2_grpc, "HealthStub")(daemon.client.channel)  # noqa: B009
        watching = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for watch in watching:
            await watch.read()
        third = stub.Watch(health_pb2.HealthCheckRequest())
        assert await third.code() is EXHAUSTED
        assert await healthy(daemon)
        assert await daemon.client.text(speech(0.5)) == "500ms"
        for watch in watching:
            watch.cancel()


async def test_one_peer_cannot_use_up_the_connections_of_another_kind_of_address(tmp_path: Path) -> None:
    sessions = sessions_of(SessionSettings())
    server = RpcServer(
        sessions, ("127.0.0.1:0", f"unix:{tmp_path}/p.sock"), limits=CallLimits(max_connections=5)
    )
    await server.start()
    try:
        host, port = server.addresses[0].split(":")
        with contextlib.ExitStack() as stack:
            flood = [
                stack.enter_context(await asyncio.to_thread(socket.create_connection, (host, int(port))))
                for _ in range(40)
            ]
            refused = 0
            for connection in flood:
                connection.settimeout(0.5)
                # One that is taken is greeted with HTTP/2's settings.
                with contextlib.suppress(OSError):
                    refused += not await asyncio.to_thread(connection.recv, 100)
            assert refused >= 30
            async with grpc.aio.insecure_channel(server.addresses[1]) as channel, asyncio.timeout(10):
                check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
                assert await check(b"")
    finally:
        await server.drain(0, 0)


def test_each_client_has_its_own_share_and_those_who_leave_are_forgotten() -> None:
    places = Places("streams")
    one, other = Client("10.0.0.1", local=False), Client("10.0.0.2", local=False)
    total, each = (3, "limits.max_streams"), (2, "limits.max_streams_per_client")
    places.take(one, total, each)
    places.take(one, total, each)
    with pytest.raises(
        Overloaded,
        match=r"2 streams from 10\.0\.0\.1 are open, the limit is 2 \(limits\.max_streams_per_client\)",
    ):
        places.take(one, total, each)
    places.take(other, total, each)
    with pytest.raises(Overloaded, match=r"3 streams are open, the limit is 3 \(limits\.max_streams\)"):
        places.take(other, total, each)
    places.give_back(one)
    places.take(other, total, each)
    for client in (one, other, other):
        places.give_back(client)
    assert places.count == 0
    assert not places._taken


def test_by_default_another_machine_has_half_of_the_streams_and_this_one_all() -> None:
    away = Client("10.0.0.1", local=False)
    assert [SessionSettings().streams_of(client) for client in (HERE, away)] == [32, 16]
    assert SessionSettings(max_streams=1).streams_of(away) == 1
    few = SessionSettings(max_streams_per_client=2)
    assert [few.streams_of(client) for client in (HERE, away)] == [2, 2]


async def test_the_share_of_a_client_holds_for_its_calls(serving: Serving) -> None:
    settings = SessionSettings(max_streams=4, max_streams_per_client=1)
    async with serving(settings=settings) as daemon:
        first = daemon.client.stream()
        await first.write(opening())
        await daemon.sessions.until(lambda: daemon.sessions.active == 1)
        assert await daemon.client.refusal(opening()) == (
            EXHAUSTED,
            "1 streams from this machine are open, the limit is 1 (limits.max_streams_per_client); try again later",
        )
        first.cancel()


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:127.0.0.1:5000", HERE),
        ("ipv6:%5B::1%5D:5000", HERE),
        ("ipv6:%5B::ffff:127.0.0.1%5D:5000", HERE),
        ("unix:", HERE),
        ("unix:/run/p.sock", HERE),
        ("ipv4:192.168.1.5:5000", Client("192.168.1.5", local=False)),
        ("ipv6:%5B::ffff:192.168.1.5%5D:5000", Client("192.168.1.5", local=False)),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", Client("2001:db8:1:2::/64", local=False)),
        ("ipv6:[2001:db8:1:2::9]:5000", Client("2001:db8:1:2::/64", local=False)),
    ],
)
def test_a_client_is_a_machine(peer: str, client: Client) -> None:
    assert client_of(peer) == client
