"""Limits: each is told by name and value, frees what it ends, and leaves the other clients alone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import threading
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.client import ClientAudio, Encoding
from parakeetd.errors import Overloaded
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.gate import CallLimits, Gate, client_of
from parakeetd.rpc.incoming import Patience, recording_samples, stream_samples
from parakeetd.session import HERE, Client, Places, ServedModel, Sessions, SessionSettings
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from wire import Call, Daemon, Ending, Serving, chunks, ending, opening, pcm, silence, speech

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
LATE = grpc.StatusCode.DEADLINE_EXCEEDED

PATIENCE_SECONDS = 30.0

UNREAD_SECONDS = 2.0
"""Most audio of a stream that may be on its way while nobody reads it."""


async def healthy(daemon: Daemon) -> bool:
    # The published annotations know neither its methods nor asynchronous channels.
    stub: Any = getattr(health_pb2_grpc, "HealthStub")(daemon.client.channel)  # noqa: B009
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    serving: bool = answer.status == health_pb2.HealthCheckResponse.SERVING
    return serving


async def trickle(call: Call, request: asr.StreamingRecognizeRequest, pause: float) -> Ending:
    """Send the same message again and again, until the call ends; how it does."""

    async def send() -> None:
        # The client reports as it likes that a call ended while it was sending; `ending` asks for the status.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while not call.done():
                await call.write(request)
                await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    try:
        return await ending(call)
    finally:
        sending.cancel()
        await asyncio.wait({sending})


async def test_one_stream_more_than_the_limit_is_refused_and_health_stays(serving: Serving) -> None:
    async with serving(settings=SessionSettings(max_streams=3)) as daemon:
        calls = [daemon.client.stub.StreamingRecognize() for _ in range(3)]
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
        mute = daemon.client.stub.StreamingRecognize()
        await daemon.sessions.until(lambda: daemon.sessions.active == 1)
        code, message = await daemon.client.refusal(opening())
        assert (code, "limits.max_streams" in message) == (EXHAUSTED, True)
        end = await ending(mute)
        assert await daemon.client.text(speech(0.5)) == "500ms"
    assert (end.code, "limits.idle_seconds" in end.message) == (LATE, True)


@pytest.mark.parametrize("sent", [b"", b"\0"], ids=["empty messages", "a byte at a time"])
async def test_a_client_that_sends_next_to_nothing_is_ended_as_one_that_sends_nothing(
    serving: Serving, sent: bytes
) -> None:
    async with (
        serving(settings=SessionSettings(idle_seconds=0.4)) as daemon,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        call = daemon.client.stub.StreamingRecognize()
        await call.write(opening())
        end = await trickle(call, asr.StreamingRecognizeRequest(audio_content=sent), 0.05)
        assert daemon.sessions.active == 0
    assert end.code is LATE
    assert "0.4 s (limits.idle_seconds)" in end.message


async def test_a_client_that_streams_is_not_idle_however_slowly_it_is_read(serving: Serving) -> None:
    gate = threading.Event()
    settings = SessionSettings(
        idle_seconds=0.5, detector="off", segmentation=Segmentation(max_segment_ms=2_000, overlap_ms=0)
    )
    async with serving(FakeEngine(gate=gate), settings=settings) as daemon:
        call = daemon.client.stub.StreamingRecognize()
        await call.write(opening())

        async def send() -> None:
            for request in chunks(speech(16.0), 6400):
                await call.write(request)
            await call.done_writing()

        sending = asyncio.create_task(send())
        # Longer than a client may be idle: all this time nobody reads it.
        await asyncio.sleep(1.5)
        gate.set()
        end = await ending(call)
        await sending
    assert end.code is grpc.StatusCode.OK
    assert sum(int(text.strip().removesuffix("ms")) for text in end.texts) == 16_000


async def test_a_stream_that_lasts_too_long_is_answered_and_ended(serving: Serving) -> None:
    settings = SessionSettings(max_stream_seconds=1.0)
    async with serving(settings=settings) as daemon, asyncio.timeout(PATIENCE_SECONDS):
        call = daemon.client.stub.StreamingRecognize()
        for request in (opening(), *chunks(speech(1.0)), *chunks(silence(1.5))):
            await call.write(request)
        end = await trickle(call, asr.StreamingRecognizeRequest(audio_content=silence(0.02)), 0.02)
    assert len(end.texts) == 1
    assert end.code is LATE
    assert "1 s, the longest that is allowed (limits.max_stream_seconds)" in end.message


async def recognized(daemon: Daemon, config: asr.RecognitionConfig, data: bytes) -> tuple[Any, str]:
    """How a recording ends."""
    try:
        await daemon.client.stub.Recognize(asr.RecognizeRequest(config=config, audio=data))
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def test_a_recording_that_is_too_long_is_refused(serving: Serving) -> None:
    async with serving(settings=SessionSettings(max_recording_seconds=2.0)) as daemon:
        assert (await recognized(daemon, pcm(), speech(2.0)))[0] is grpc.StatusCode.OK
        code, message = await recognized(daemon, pcm(), speech(2.1))
        # 8 kHz: the limit is of time, not of samples.
        slow = pcm(sample_rate_hertz=8_000)
        assert (await recognized(daemon, slow, speech(1.1)))[0] is EXHAUSTED
        # A stream has no such limit.
        assert len(await daemon.client.answers(opening(), *chunks(speech(2.5)))) == 1
    assert code is EXHAUSTED
    assert "longer than 2 s" in message
    assert "limits.max_recording_seconds" in message


def bomb(hours: float, *, announced: bool) -> bytes:
    """A small file that is hours of silence."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as sound:
        minute = np.zeros(60 * 8_000, np.int16)
        for _ in range(round(60 * hours)):
            sound.write(minute)
    data = bytearray(file.getvalue())
    if not announced:
        # STREAMINFO: the number of samples has 36 bits that end at byte 26; 0: unknown.
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
@pytest.mark.parametrize("way", ["recording", "stream"])
async def test_a_small_file_of_hours_is_refused_without_holding_them(
    serving: Serving, way: str, announced: bool
) -> None:
    data = bomb(3.0, announced=announced)
    assert len(data) < 1 << 20
    settings = SessionSettings(max_recording_seconds=120.0)
    config = asr.RecognitionConfig()
    async with serving(settings=settings) as daemon:
        tracemalloc.start()
        try:
            if way == "recording":
                code, message = await recognized(daemon, config, data)
            else:
                code, message = await daemon.client.refusal(opening(config), *chunks(data, 64_000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert code is EXHAUSTED
    assert "limit of 120 s" in message
    assert message.endswith("(limits.max_recording_seconds)")
    # All of it were 690 MB as samples, what is allowed 8 MB.
    assert peak < 40e6


@pytest.mark.parametrize("way", ["recording", "stream"])
async def test_an_allowed_file_is_decoded_no_faster_than_it_is_taken(way: str) -> None:
    data = bomb(0.5, announced=True)
    seconds = 1_800.0
    audio = ClientAudio(Encoding.UNSPECIFIED, 0, 0, max_container_seconds=seconds)
    message = asr.StreamingRecognizeRequest(audio_content=data)
    tracemalloc.start()
    try:
        if way == "recording":
            pieces = recording_samples(data, audio, seconds)
        else:
            pieces = stream_samples(given([message]), audio, Patience(60.0, 0.0))
        count = longest = 0
        async with aclosing(pieces):
            async for piece in pieces:
                count += len(piece)
                longest = max(longest, len(piece))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == seconds * SAMPLE_RATE
    assert longest <= 20 * SAMPLE_RATE
    # All of it is 115 MB as samples, twenty seconds are 1.3 MB.
    assert peak < 12e6


@pytest.mark.parametrize("way", ["recording", "stream"])
async def test_an_allowed_file_is_recognised_without_holding_all_of_it(serving: Serving, way: str) -> None:
    data = bomb(0.5, announced=True)
    settings = SessionSettings(max_recording_seconds=1_800.0, detector="off")
    config = asr.RecognitionConfig()
    async with serving(settings=settings) as daemon:
        tracemalloc.start()
        try:
            if way == "recording":
                code, message = await recognized(daemon, config, data)
                assert (code, message) == (grpc.StatusCode.OK, "")
            else:
                await daemon.client.answers(opening(config), *chunks(data, 64_000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # All of it is 115 MB as samples; a few segments of 20 s are under way.
    assert peak < 40e6


async def given(
    requests: list[asr.StreamingRecognizeRequest],
) -> AsyncIterator[asr.StreamingRecognizeRequest]:
    for request in requests:
        yield request


async def test_a_recording_is_recognised_piece_by_piece(serving: Serving) -> None:
    file = io.BytesIO()
    samples = np.tile(np.frombuffer(speech(1.0) + silence(1.5), "<i2"), 12)
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC")
    async with serving() as daemon:
        request = asr.RecognizeRequest(config=asr.RecognitionConfig(), audio=file.getvalue())
        response = await daemon.client.stub.Recognize(request)
    assert len(response.results) == 12


async def test_a_request_that_does_not_arrive_is_given_up(serving: Serving) -> None:
    async with serving(limits=CallLimits(upload_seconds=0.3)) as daemon, asyncio.timeout(PATIENCE_SECONDS):
        # To the server a recording whose message is on its way, and stays there.
        call: grpc.aio.StreamStreamCall[bytes, bytes]
        call = daemon.client.channel.stream_stream("/nvidia.riva.asr.RivaSpeechRecognition/Recognize")()
        await daemon.sessions.until(lambda: daemon.sessions.active == 1)
        assert await call.code() is LATE
        assert "0.3 s (limits.upload_seconds)" in (await call.details() or "")
        assert daemon.sessions.active == 0


async def test_a_message_over_a_configured_limit_is_refused(serving: Serving) -> None:
    async with serving(limits=CallLimits(max_message_mib=1)) as daemon:
        code, message = await recognized(daemon, pcm(), speech(34.0))
        assert (await recognized(daemon, pcm(), speech(30.0)))[0] is grpc.StatusCode.OK
    assert code is EXHAUSTED
    assert str(1 << 20) in message


async def test_audio_that_waits_too_long_lets_nobody_else_in(serving: Serving) -> None:
    gate = threading.Event()
    settings = SessionSettings(
        max_queued_seconds=2.0, detector="off", segmentation=Segmentation(max_segment_ms=2_000, overlap_ms=0)
    )
    async with serving(FakeEngine(gate=gate), settings=settings) as daemon:
        call = daemon.client.stub.StreamingRecognize()
        await call.write(opening())
        for request in chunks(speech(4.0), 6400):
            await call.write(request)
        await daemon.sessions.until(lambda: daemon.sessions.heard_samples > 3 * SAMPLE_RATE)
        code, message = await daemon.client.refusal(opening())
        gate.set()
        await call.done_writing()
        assert (await ending(call)).code is grpc.StatusCode.OK
        assert daemon.sessions.queued_seconds == 0
        assert await daemon.client.text(speech(0.5)) == "500ms"
    assert code is EXHAUSTED
    assert "s of audio wait to be recognised, the limit is 2 s (limits.max_queued_seconds)" in message


async def test_of_a_client_that_nobody_reads_at_most_two_seconds_are_held(serving: Serving) -> None:
    gate = threading.Event()
    settings = SessionSettings(
        detector="off", segmentation=Segmentation(max_segment_ms=2_000, overlap_ms=0), idle_seconds=300.0
    )
    async with serving(FakeEngine(gate=gate), settings=settings) as daemon:
        call = daemon.client.stub.StreamingRecognize()
        await call.write(opening())
        sent = 0.0
        with contextlib.suppress(TimeoutError):
            for request in chunks(speech(60.0)):
                async with asyncio.timeout(2.0):
                    await call.write(request)
                sent += 0.02
        unread = sent - daemon.sessions.heard_samples / SAMPLE_RATE
        gate.set()
        call.cancel()
    assert 0 < unread <= UNREAD_SECONDS
    assert sent < 30


@asynccontextmanager
async def guarded(handler: Any, gate: Gate) -> AsyncIterator[grpc.aio.Channel]:
    """A server with one streaming method behind a gate, and a channel to it."""

    class Methods(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.stream_stream_rpc_method_handler(handler)

    server = grpc.aio.server(interceptors=(gate,), options=[("grpc.http2.bdp_probe", 0)])
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


def sessions_of(settings: SessionSettings) -> Sessions:
    router = Router({"cpu": FakeEngine})
    router.close(1)
    return Sessions((ServedModel("fake", (), router),), settings)


async def test_a_client_that_does_not_read_is_ended_and_its_place_is_free() -> None:
    left = asyncio.Event()

    async def talkative(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(60_000)
        finally:
            left.set()

    sessions = sessions_of(SessionSettings(max_streams=1))
    gate = Gate(sessions, frozenset({"/s/M"}), CallLimits(unread_seconds=0.3), None)
    async with guarded(talkative, gate) as channel, asyncio.timeout(PATIENCE_SECONDS):
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/s/M")()
        await left.wait()
        assert sessions.active == 0
        # It is told when it reads at last.
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        assert await call.code() is LATE
        assert await call.details() == "results were not read for 0.3 s (limits.unread_seconds)"


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
        first = daemon.client.stub.StreamingRecognize()
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
