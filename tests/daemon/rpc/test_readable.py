"""Messages that are no protobuf of their kind: refused as the client's mistake, in every service and at every place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from calls import Call
from parakeetd_proto import riva_asr_pb2 as asr
from wire import Daemon, Serving, chunks, opening, speech

RIVA = "/nvidia.riva.asr.RivaSpeechRecognition/"
METHODS = [
    f"{RIVA}Recognize",
    f"{RIVA}GetRivaSpeechRecognitionConfig",
    f"{RIVA}StreamingRecognize",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]
NO_MESSAGE = b"\xff\xff\xff\xff"


def as_it_is(data: Any) -> bytes:
    """Our own messages as bytes, other bytes as they are."""
    return data if isinstance(data, bytes) else data.SerializeToString()


def call(daemon: Daemon, method: str, answer: Callable[[bytes], Any] | None = None) -> Call:
    return Call(daemon.client.blocking.stream_stream(method, as_it_is, answer))


@pytest.mark.parametrize("method", METHODS)
async def test_a_message_that_cannot_be_read_is_an_invalid_argument(
    serving: Serving, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with serving() as daemon:
            sending = call(daemon, method)
            sending.send_all([NO_MESSAGE])
            end = await sending.ending()
            assert await daemon.client.text(speech(0.5)) == "500ms"
    assert end.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "a message cannot be read" in end.message
    assert not caplog.records


async def test_what_came_before_a_message_that_cannot_be_read_is_answered(serving: Serving) -> None:
    async with serving() as daemon:
        sending = call(daemon, METHODS[2], asr.StreamingRecognizeResponse.FromString)
        sending.send_all([opening(), *chunks(speech(1.0)), NO_MESSAGE])
        end = await sending.ending()
    assert end.texts == ["1000ms "]
    assert end.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_of_health_is_answered_as_ever(serving: Serving) -> None:
    async with serving() as daemon:
        watch: Any = daemon.client.channel.unary_stream(
            METHODS[4],
            request_serializer=as_it_is,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
