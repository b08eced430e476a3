"""Calls without a gRPC server: the same gate, services, answers and errors as with one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from parakeetd.cluster.calls import Calls, handlers_of
from parakeetd.entrance.limits import CallLimits
from parakeetd.entrance.token import Tokens
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.gate import Gate
from parakeetd.rpc.riva import SERVICE, STREAMS, RivaServicer
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.text import HouseStyle, read_tables
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from wire import chunks, opening, pcm, silence, speech

STREAM = f"/{SERVICE}/StreamingRecognize"
WHOLE = f"/{SERVICE}/Recognize"


class Asked:
    """As Ray Serve has it."""

    def __init__(self, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self._metadata = metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1234"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


class Room:
    """A replica without Ray."""

    def __init__(self, tokens: Path | None = None, max_streams: int = 4) -> None:
        self.router = Router({"cpu": FakeEngine})
        model = ServedModel("fake", ("en-US",), self.router, ("tdt",))
        self.sessions = Sessions((model,), SessionSettings(max_streams=max_streams))
        self.servicer = RivaServicer(self.sessions, HouseStyle(read_tables()))
        gate = Gate(self.sessions, STREAMS, CallLimits(), Tokens(tokens) if tokens else None)
        self.calls = Calls(
            gate,
            handlers_of((riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server, self.servicer)),
        )

    async def ends(self, path: str, asked: Asked, *requests: bytes) -> list[Any]:
        """All answers of a call that fails."""
        answers: list[Any] = []
        call = self.calls.answers(path, sent(*requests), asked)
        try:
            # One that ends otherwise fails the test here, with StopAsyncIteration.
            while True:
                answers.append(await anext(call))
        except grpc.aio.AbortError:
            return answers


@pytest.fixture
def rooms() -> Iterator[Callable[..., Room]]:
    made: list[Room] = []

    def make(**given: Any) -> Room:
        made.append(Room(**given))
        return made[-1]

    yield make
    for room in made:
        room.router.close(5)


async def sent(*requests: bytes, stay: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for request in requests:
        yield request
    if stay is not None:
        await stay.wait()


def said() -> list[bytes]:
    audio = speech(1.2) + silence(1.5) + speech(0.8) + silence(1.0)
    return [message.SerializeToString() for message in (opening(interim=False), *chunks(audio))]


async def test_a_stream_is_answered_as_by_a_grpc_server(rooms: Callable[..., Room]) -> None:
    room = rooms()
    server = RpcServer(room.sessions, ("127.0.0.1:0",))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
            stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
            messages = map(asr.StreamingRecognizeRequest.FromString, said())
            told = [answer async for answer in stub.StreamingRecognize(iter(messages))]
            asked = Asked()
            answers = [answer async for answer in room.calls.answers(STREAM, sent(*said()), asked)]
    finally:
        await server.drain(0.1, 2)
    assert len(answers) == 2
    assert [answer.results for answer in answers] == [answer.results for answer in told]
    assert asked.code is None


async def test_a_recording_is_answered_by_one_message(rooms: Callable[..., Room]) -> None:
    request = asr.RecognizeRequest(config=pcm(), audio=speech(1.0)).SerializeToString()
    answers = [answer async for answer in rooms().calls.answers(WHOLE, sent(request), Asked())]
    assert [len(answer.results) for answer in answers] == [1]


async def test_a_message_that_cannot_be_read_is_the_clients_mistake(rooms: Callable[..., Room]) -> None:
    asked = Asked()
    await rooms().ends(WHOLE, asked, b"\xff\xff\xff")
    assert asked.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be read" in asked.details


async def test_a_call_without_a_token_is_refused(rooms: Callable[..., Room], tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    file.chmod(0o600)
    room, asked = rooms(tokens=file), Asked()
    await room.ends(STREAM, asked, *said())
    assert asked.code is grpc.StatusCode.UNAUTHENTICATED
    bearer = Asked((("authorization", "Bearer 0123456789abcdef0123456789abcdef"),))
    assert [answer async for answer in room.calls.answers(STREAM, sent(*said()), bearer)]


async def test_one_stream_too_many_is_refused_and_a_stream_that_is_left_frees_its_place(
    rooms: Callable[..., Room],
) -> None:
    room, stay = rooms(max_streams=1), asyncio.Event()
    async with aclosing(room.calls.answers(STREAM, sent(*said(), stay=stay), Asked())) as answers:
        await anext(answers)
        assert room.sessions.active == 1
        refused = Asked()
        await room.ends(STREAM, refused, *said())
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "limits.max_streams" in refused.details
    assert room.sessions.active == 0
    assert [answer async for answer in room.calls.answers(STREAM, sent(*said()), Asked())]


async def test_what_was_answered_before_an_error_is_delivered(rooms: Callable[..., Room]) -> None:
    asked = Asked()
    twice = [*said(), opening().SerializeToString()]
    answers = await rooms().ends(STREAM, asked, *twice)
    assert asked.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answers


async def test_an_unread_stream_does_not_run_ahead_of_who_takes_its_answers(
    rooms: Callable[..., Room],
) -> None:
    room, taken = rooms(), 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(40):
            for request in said()[bool(taken) :]:
                taken += 1
                yield request

    async with aclosing(room.calls.answers(STREAM, counted(), Asked())) as answers:
        await anext(answers)
        before = -1
        while before != taken:
            before = taken
            await asyncio.sleep(0.5)
        assert taken < 20 * len(said())


def test_only_what_is_added_can_be_called() -> None:
    paths = handlers_of(
        (riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server, object_with_everything())
    )
    assert set(paths) == {*STREAMS, f"/{SERVICE}/GetRivaSpeechRecognitionConfig"}
    assert health_pb2.DESCRIPTOR.package not in "".join(paths)


def object_with_everything() -> Any:
    return type("Any", (), {"__getattr__": lambda self, name: None})()
