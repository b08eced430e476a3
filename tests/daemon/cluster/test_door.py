"""What a proxy of Serve's offers, in a gRPC server that treats it as Serve does, seen by a gRPC client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parakeetd.cluster.door import add_services
from parakeetd.rpc.status import UNEXPECTED
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc

Replica = Callable[[list[bytes], Any], list[bytes]]


@asynccontextmanager
async def proxied(replica: Replica) -> AsyncIterator[grpc.aio.Channel]:
    """A server whose calls all go to one function, which may set a status on the context."""
    server = grpc.aio.server()

    class Serve:
        def add_generic_rpc_handlers(self, given: Any) -> None:
            async def unary(request: bytes, context: Any) -> bytes:
                return next(iter(replica([request], context)), b"")

            async def stream(requests: Any, context: Any) -> AsyncIterator[bytes]:
                for answer in replica([request async for group in requests for request in group], context):
                    yield answer

            given[0]._method_handlers = {
                path: handler._replace(response_serializer=None, unary_unary=unary, stream_stream=stream)
                for path, handler in given[0]._method_handlers.items()
            }
            server.add_generic_rpc_handlers(given)

    add_services(None, Serve())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


def failing(code: grpc.StatusCode, details: str, *first: bytes) -> Replica:
    def fail(_requests: list[bytes], context: Any) -> list[bytes]:
        context.set_code(code)
        context.set_details(details)
        return list(first)

    return fail


async def streamed(channel: grpc.aio.Channel) -> tuple[list[Any], grpc.StatusCode, str]:
    """A stream's answers, code and details."""
    stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
    call, answers = stub.StreamingRecognize(iter([asr.StreamingRecognizeRequest()])), []
    try:
        while (answer := await call.read()) is not grpc.aio.EOF:
            answers.append(answer)
    except grpc.aio.AioRpcError as error:
        return answers, error.code(), error.details() or ""
    return answers, grpc.StatusCode.OK, ""


async def test_a_replica_that_dies_ends_its_stream_with_unavailable_after_what_it_said() -> None:
    said = asr.StreamingRecognizeResponse(results=[asr.StreamingRecognitionResult(is_final=True)])
    died = failing(grpc.StatusCode.INTERNAL, "The actor died unexpectedly", said.SerializeToString())
    async with proxied(died) as channel:
        answers, code, details = await streamed(channel)
    assert answers == [said]
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "begin it anew" in details


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.INTERNAL, UNEXPECTED),
        (grpc.StatusCode.INVALID_ARGUMENT, "no audio file"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "32 streams are open"),
        (grpc.StatusCode.UNAUTHENTICATED, "this server wants a token"),
    ],
)
async def test_what_a_replica_itself_answers_stays_as_it_is(code: grpc.StatusCode, details: str) -> None:
    async with proxied(failing(code, details)) as channel:
        assert await streamed(channel) == ([], code, details)


async def test_a_recording_whose_replica_dies_may_be_sent_again_too() -> None:
    async with proxied(failing(grpc.StatusCode.INTERNAL, "a machine was lost")) as channel:
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stub.Recognize(asr.RecognizeRequest())
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_messages_go_through_as_bytes_that_nobody_reads() -> None:
    heard: list[bytes] = []

    def replica(requests: list[bytes], _context: Any) -> list[bytes]:
        heard.extend(requests)
        return [asr.RecognizeResponse().SerializeToString()]

    request = asr.RecognizeRequest(audio=b"12")
    async with proxied(replica) as channel:
        await riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).Recognize(request)
    assert heard == [request.SerializeToString()]


async def test_serve_is_told_which_application_is_meant_whatever_the_client_says() -> None:
    named: list[Any] = []

    def replica(_requests: list[bytes], context: Any) -> list[bytes]:
        named.extend(value for key, value in context.invocation_metadata() if key == "application")
        return [health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()]

    async with proxied(replica) as channel:
        # The stubs of types do not know its calls.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), metadata=(("application", "another"),))
    assert named == ["parakeetd"]


async def test_watching_health_is_not_offered_for_it_would_hold_a_place() -> None:
    async with proxied(failing(grpc.StatusCode.OK, "")) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in stub.Watch(health_pb2.HealthCheckRequest()):
                pass
    assert ended.value.code() is grpc.StatusCode.UNIMPLEMENTED
