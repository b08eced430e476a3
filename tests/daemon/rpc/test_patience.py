"""Clients that are silent, slow, endless or do not read: each is ended after its time, and told which that is."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from calls import Call, Ending
from parakeetd.audio import SAMPLE_RATE
from parakeetd.entrance.limits import CallLimits
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc.gate import Gate
from parakeetd.session import SessionSettings
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from wire import Serving, chunks, opening, sessions_of, silence, speech

LATE = grpc.StatusCode.DEADLINE_EXCEEDED

PATIENCE_SECONDS = 30.0

UNREAD_SECONDS = 2.0
"""Most audio of a stream that may be on its way while nobody reads it."""


async def trickle(call: Call, request: asr.StreamingRecognizeRequest, pause: float) -> Ending:
    """Send the same message again and again, until the call ends; how it does."""

    async def send() -> None:
        while not call.done():
            await call.write(request)
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    try:
        return await call.ending()
    finally:
        sending.cancel()
        await asyncio.wait({sending})


@pytest.mark.parametrize("sent", [b"", b"\0"], ids=["empty messages", "a byte at a time"])
async def test_a_client_that_sends_next_to_nothing_is_ended_as_one_that_sends_nothing(
    serving: Serving, sent: bytes
) -> None:
    async with (
        serving(settings=SessionSettings(idle_seconds=0.4)) as daemon,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        call = daemon.client.stream()
        await call.write(opening())
        end = await trickle(call, asr.StreamingRecognizeRequest(audio_content=sent), 0.05)
        # A stream that fails gives its place back when its client has been told.
        await daemon.sessions.until(lambda: daemon.sessions.active == 0)
    assert end.code is LATE
    assert "0.4 s (limits.idle_seconds)" in end.message


async def test_a_client_that_streams_is_not_idle_however_slowly_it_is_read(serving: Serving) -> None:
    gate = threading.Event()
    settings = SessionSettings(
        idle_seconds=0.5, detector="off", segmentation=Segmentation(max_segment_ms=2_000, overlap_ms=0)
    )
    async with serving(FakeEngine(gate=gate), settings=settings) as daemon:
        call = daemon.client.stream()
        await call.write(opening())

        async def send() -> None:
            for request in chunks(speech(16.0), 6400):
                await call.write(request)
            call.done_writing()

        sending = asyncio.create_task(send())
        # Longer than a client may be idle: all this time nobody reads it.
        await asyncio.sleep(1.5)
        gate.set()
        end = await call.ending()
        await sending
    assert end.code is grpc.StatusCode.OK
    assert sum(int(text.strip().removesuffix("ms")) for text in end.texts) == 16_000


async def test_a_stream_that_lasts_too_long_is_answered_and_ended(serving: Serving) -> None:
    settings = SessionSettings(max_stream_seconds=1.0)
    async with serving(settings=settings) as daemon, asyncio.timeout(PATIENCE_SECONDS):
        call = daemon.client.stream()
        for request in (opening(), *chunks(speech(1.0)), *chunks(silence(1.5))):
            await call.write(request)
        end = await trickle(call, asr.StreamingRecognizeRequest(audio_content=silence(0.02)), 0.02)
    assert len(end.texts) == 1
    assert end.code is LATE
    assert "1 s, the longest that is allowed (limits.max_stream_seconds)" in end.message


async def test_a_request_that_does_not_arrive_is_given_up(serving: Serving) -> None:
    async with serving(limits=CallLimits(upload_seconds=0.3)) as daemon, asyncio.timeout(PATIENCE_SECONDS):
        # To the server a recording whose message is on its way, and stays there.
        call: grpc.aio.StreamStreamCall[bytes, bytes]
        call = daemon.client.channel.stream_stream("/nvidia.riva.asr.RivaSpeechRecognition/Recognize")()
        await daemon.sessions.until(lambda: daemon.sessions.active == 1)
        assert await call.code() is LATE
        assert "0.3 s (limits.upload_seconds)" in (await call.details() or "")
        assert daemon.sessions.active == 0


async def test_of_a_client_that_nobody_reads_at_most_two_seconds_are_held(serving: Serving) -> None:
    gate = threading.Event()
    settings = SessionSettings(
        detector="off", segmentation=Segmentation(max_segment_ms=2_000, overlap_ms=0), idle_seconds=300.0
    )
    async with serving(FakeEngine(gate=gate), settings=settings) as daemon:
        call = daemon.client.stream()
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
