from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from parakeetd.routing.fake import FakeEngine
from wire import Daemon, Serving, chunks, opening, speech

SERVICE = "nvidia.riva.asr.RivaSpeechRecognition"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health_stub(daemon: Daemon) -> Any:
    # The published annotations know neither its methods nor asynchronous channels.
    return health_pb2_grpc.HealthStub(daemon.client.channel)


async def health(daemon: Daemon, service: str = "") -> int:
    status: int = (await health_stub(daemon).Check(health_pb2.HealthCheckRequest(service=service))).status
    return status


async def test_health_is_told_for_the_daemon_and_for_the_service(serving: Serving) -> None:
    async with serving() as daemon:
        assert await health(daemon) == SERVING
        assert await health(daemon, SERVICE) == SERVING


async def test_reflection_lists_the_services(serving: Serving) -> None:
    async with serving() as daemon:
        reflection_stub: Any = reflection_pb2_grpc.ServerReflectionStub
        stub = reflection_stub(daemon.client.channel)
        request = cast("Any", reflection_pb2).ServerReflectionRequest(list_services="")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    assert {SERVICE, "grpc.health.v1.Health"} <= {s.name for s in answers[0].list_services_response.service}


async def test_a_drain_lets_streams_finish_refuses_new_ones_and_says_so_in_health(serving: Serving) -> None:
    async with serving() as daemon, asyncio.timeout(20):
        call = daemon.client.stream()
        for request in (opening(), *chunks(speech(1.0))):
            await call.write(request)
        # A call whose first message has not been read has a place, but is no stream yet: a drain refuses it.
        await daemon.sessions.until(lambda: daemon.sessions.heard_samples == 16_000)
        drain = asyncio.create_task(daemon.server.drain(10, 1))
        await daemon.sessions.until(lambda: daemon.sessions.draining)
        assert await health(daemon) == NOT_SERVING
        assert await health(daemon, SERVICE) == NOT_SERVING
        code, message = await daemon.client.refusal(opening())
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in message
        for request in chunks(speech(1.0)):
            await call.write(request)
        call.done_writing()
        end = await call.ending()
        await drain
    assert end.code is grpc.StatusCode.OK
    assert end.texts == ["2000ms "]


async def test_a_stream_that_goes_on_is_answered_for_what_it_sent_and_told_to_come_again(
    serving: Serving,
) -> None:
    async with serving() as daemon, asyncio.timeout(20):
        call = daemon.client.stream()
        for request in (opening(), *chunks(speech(1.0))):
            await call.write(request)
        # What the server has not read it has not accepted.
        await daemon.sessions.until(lambda: daemon.sessions.heard_samples == 16_000)
        drain = asyncio.create_task(daemon.server.drain(0.2, 5))
        end = await call.ending()
        await drain
    assert end.texts == ["1000ms "]
    assert end.code is grpc.StatusCode.UNAVAILABLE


async def test_a_drain_ends_though_a_device_hangs_and_clients_watch_or_say_nothing(serving: Serving) -> None:
    gate = threading.Event()
    async with serving(FakeEngine(gate=gate)) as daemon, asyncio.timeout(20):
        stuck = daemon.client.stream(opening(), *chunks(speech(1.0)))
        mute = daemon.client.stream()
        watch = health_stub(daemon).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        await daemon.sessions.until(lambda: daemon.sessions.active == 2)
        await daemon.server.drain(0.2, 0.2)
        codes = {(await stuck.ending()).code, (await mute.ending()).code}
        gate.set()
    assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
