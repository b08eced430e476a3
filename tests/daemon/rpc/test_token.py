"""Tokens: which calls are let in, and what a file of them may be."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from clips import CLIPS
from parakeetd.entrance.access import Access
from parakeetd.entrance.token import Tokens, bearer
from parakeetd.errors import CallFailed, ConfigError
from parakeetd.rpc.client import stream_file
from parakeetd.rpc.reach import Reach
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from wire import Daemon, Serving, opening, pcm, speech

GOOD = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"

Metadata = tuple[tuple[str, str], ...]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return write(tmp_path / "tokens", f"# for the office\n{GOOD}\n\n")


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


async def unary(stub_call: Any, request: Any, metadata: Metadata) -> grpc.StatusCode:
    call = stub_call(request, metadata=metadata)
    code: grpc.StatusCode = await call.code()
    return code


async def first_answer(call: Any) -> grpc.StatusCode:
    """How a call ends, or OK when it answers."""
    try:
        answer = await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code()
    code: grpc.StatusCode = await call.code() if answer is grpc.aio.EOF else grpc.StatusCode.OK
    call.cancel()
    return code


async def codes(daemon: Daemon, metadata: Metadata) -> dict[str, grpc.StatusCode]:
    """How a call of each kind ends."""
    channel = daemon.client.channel
    riva = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
    # The published annotations know neither their methods nor asynchronous channels.
    health: Any = getattr(health_pb2_grpc, "HealthStub")(channel)  # noqa: B009
    reflection: Any = getattr(reflection_pb2_grpc, "ServerReflectionStub")(channel)  # noqa: B009
    streamed = await daemon.client.stream(opening(), metadata=metadata).ending()
    recognize = asr.RecognizeRequest(config=pcm(), audio=speech(0.2))
    listing = asr.RivaSpeechRecognitionConfigRequest()
    check = health_pb2.HealthCheckRequest()
    return {
        "StreamingRecognize": streamed.code,
        "Recognize": await unary(riva.Recognize, recognize, metadata),
        "GetRivaSpeechRecognitionConfig": await unary(riva.GetRivaSpeechRecognitionConfig, listing, metadata),
        "ServerReflectionInfo": await first_answer(
            reflection.ServerReflectionInfo(iter([]), metadata=metadata)
        ),
        "Watch": await first_answer(health.Watch(check, metadata=metadata)),
        "Check": await unary(health.Check, check, metadata),
    }


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", f"Bearer {OTHER}"),),
        (("authorization", f"Bearer {GOOD}x"),),
        (("authorization", f"Bearer {GOOD[:-1]}"),),
        (("authorization", f"Basic {GOOD}"),),
        (("authorization", GOOD),),
        (("authorization", "Bearer "),),
        (("authorization", ""),),
        (("authorization", "Bearer # for the office"),),
        (("x-authorization", f"Bearer {GOOD}"),),
        (("authorization", f"Bearer {OTHER}"), ("authorization", f"Bearer {GOOD}")),
    ],
)
async def test_without_the_token_no_service_answers_but_the_health_check(
    serving: Serving, token_file: Path, metadata: Metadata
) -> None:
    async with serving(access=Access(token_file=token_file)) as daemon:
        found = await codes(daemon, metadata)
        assert daemon.sessions.active == 0
    assert found.pop("Check") is grpc.StatusCode.OK
    assert set(found.values()) == {grpc.StatusCode.UNAUTHENTICATED}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_with_the_token_every_service_answers(serving: Serving, token_file: Path, scheme: str) -> None:
    async with serving(access=Access(token_file=token_file)) as daemon:
        found = await codes(daemon, (("authorization", f"{scheme} {GOOD}"),))
    # A stream of nothing but its configuration is an error of another kind.
    assert found.pop("StreamingRecognize") is grpc.StatusCode.INVALID_ARGUMENT
    assert set(found.values()) == {grpc.StatusCode.OK}


async def test_a_unix_socket_wants_no_token(serving: Serving, token_file: Path, tmp_path: Path) -> None:
    async with serving(address=f"unix:{tmp_path}/p.sock", access=Access(token_file=token_file)) as daemon:
        assert await daemon.client.text(speech(0.5)) == "500ms"


async def test_a_recording_without_a_token_is_not_read(serving: Serving, token_file: Path) -> None:
    # More than a message may have: who is let in is told that.
    request = asr.RecognizeRequest(config=pcm(), audio=bytes(65 << 20))
    async with serving(access=Access(token_file=token_file)) as daemon:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await daemon.client.stub.Recognize(request)
        with pytest.raises(grpc.aio.AioRpcError) as too_long:
            await daemon.client.stub.Recognize(request, metadata=bearer(GOOD))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert too_long.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_our_own_client_sends_the_token(serving: Serving, token_file: Path) -> None:
    async with serving(access=Access(token_file=token_file)) as daemon:
        address, clip = daemon.server.addresses[0], CLIPS / "digits.flac"
        lines = [line async for line in stream_file(address, clip, real_time=False, reach=Reach(token=GOOD))]
        with pytest.raises(CallFailed, match="UNAUTHENTICATED: this server wants a token"):
            [line async for line in stream_file(address, clip, real_time=False)]
    assert lines


async def test_neither_what_is_presented_nor_what_is_known_is_logged(
    serving: Serving, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(access=Access(token_file=token_file)) as daemon:
            await codes(daemon, bearer(OTHER))
            await codes(daemon, bearer(GOOD))
            write(token_file, f"{OTHER}\n")
            await codes(daemon, bearer(OTHER))
    assert "without a valid token were refused" in caplog.text
    assert GOOD not in caplog.text
    assert OTHER not in caplog.text
    # One line, not one for each call.
    told = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert sum("token" in record.getMessage() for record in told) == 2


def test_a_token_that_is_withdrawn_does_not_hold_any_more(token_file: Path) -> None:
    tokens = Tokens(token_file)
    write(token_file, f"{OTHER}\n{OTHER}2\n")
    assert [tokens.admit(bearer(token)) for token in (GOOD, OTHER, f"{OTHER}2")] == [False, True, True]


def test_a_file_that_becomes_unusable_lets_in_whom_it_let_in_before(
    token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = Tokens(token_file)
    token_file.unlink()
    assert tokens.admit(bearer(GOOD))
    assert f"{token_file}: cannot be read" in caplog.text
    write(token_file, "")
    assert tokens.admit(bearer(GOOD))
    assert not tokens.admit(bearer(""))
    assert not tokens.admit(())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no token in it"),
        ("# only a remark\n\n", "no token in it"),
        ("short\n", "the token in line 1 has under 16 characters"),
        (f"{GOOD}\nalso short\n", "the token in line 2 has under 16"),
        (f"{GOOD} {GOOD}\n", "line 1 has characters that a token cannot have"),
        ("ünsichtbares-geheimnis\n", "line 1 has characters that a token cannot have"),
    ],
)
def test_a_file_without_usable_tokens_is_named_with_its_line(tmp_path: Path, text: str, named: str) -> None:
    file = write(tmp_path / "tokens", text)
    with pytest.raises(ConfigError) as caught:
        Tokens(file)
    assert str(caught.value).startswith(f"server.token_file {file}: ")
    assert named in str(caught.value)
    assert "geheimnis" not in str(caught.value)


def test_a_file_that_others_can_read_is_refused(token_file: Path) -> None:
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"other users can open it; run: chmod o="):
        Tokens(token_file)
    token_file.chmod(0o640)
    assert Tokens(token_file).admit(bearer(GOOD))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"server.token_file {tmp_path}/none: cannot be read: No such file"
    ):
        Tokens(tmp_path / "none")
