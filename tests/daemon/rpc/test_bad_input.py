"""Each thing a client can do wrong gets one clear error, and the daemon goes on serving the others."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

import wire as support
from parakeetd.audio import Samples
from parakeetd.entrance.limits import CallLimits
from parakeetd.model.transcript import Transcript
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import SessionSettings
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_audio_pb2 as audio
from wavs import chunk, fmt, wav
from wire import Client, Serving, chunks, opening, pcm, speech

MAX_MESSAGE_BYTES = CallLimits().max_message_mib << 20
INVALID = grpc.StatusCode.INVALID_ARGUMENT
TRUNCATED = wav(fmt(1, 1, 16_000, 16))[:30]
NO_RATE = wav(fmt(1, 1, 0, 16), chunk(b"data", speech(0.5)))
UNDECLARED = asr.RecognitionConfig()

# What is wrong -> configuration, audio, what the message must say.
BAD_AUDIO = {
    "not audio": (UNDECLARED, b"<!DOCTYPE html><html><body>404</body></html>" * 40, "no audio file"),
    "empty": (pcm(), b"", "empty"),
    "an empty file": (UNDECLARED, b"", "empty"),
    "a truncated header": (UNDECLARED, TRUNCATED, "header"),
    "a header that says 0 Hz": (UNDECLARED, NO_RATE, "0 Hz"),
    "raw samples at 0 Hz": (asr.RecognitionConfig(encoding=audio.LINEAR_PCM), speech(0.5), "0 Hz"),
    "a negative rate": (pcm(sample_rate_hertz=-16_000), speech(0.5), "-16000"),
    "too many channels": (pcm(audio_channel_count=9), speech(0.5), "9"),
    "an unknown encoding": (pcm(encoding=99), speech(0.5), "encoding 99"),
    "half a flac file": (
        UNDECLARED,
        b"fLaC\x00\x00\x00\x22" + struct.pack(">HH", 4096, 4096),
        "damaged or cut short",
    ),
}


async def serves_others(client: Client) -> bool:
    return await client.text(speech(0.5)) == "500ms"


async def test_a_value_that_is_longer_than_any_answer_is_refused_as_what_it_is(serving: Serving) -> None:
    config = pcm(custom_configuration={"early_end_ms": "x" * 1_000_000})
    async with serving() as daemon:
        code, message = await daemon.client.refusal(opening(config))
        assert await serves_others(daemon.client)
    assert code is INVALID
    assert 'custom_configuration["early_end_ms"] must be milliseconds' in message


@pytest.mark.parametrize("case", BAD_AUDIO)
async def test_a_stream_of_bad_audio_is_named_in_the_error(serving: Serving, case: str) -> None:
    config, data, expected = BAD_AUDIO[case]
    async with serving() as daemon:
        code, message = await daemon.client.refusal(opening(config), *chunks(data, 3200))
        assert await serves_others(daemon.client)
    assert code is INVALID
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("case", BAD_AUDIO)
async def test_a_recording_that_is_bad_audio_is_named_in_the_error(serving: Serving, case: str) -> None:
    config, data, expected = BAD_AUDIO[case]
    async with serving() as daemon:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await daemon.client.stub.Recognize(asr.RecognizeRequest(config=config, audio=data))
        assert await serves_others(daemon.client)
    assert caught.value.code() is INVALID
    assert expected in (caught.value.details() or "")


async def test_a_first_message_without_configuration_is_refused(serving: Serving) -> None:
    async with serving() as daemon:
        code, message = await daemon.client.refusal(*chunks(speech(0.1)))
        assert await serves_others(daemon.client)
    assert (code, message) == (
        INVALID,
        "the first message of the stream must carry streaming_config, not audio_content",
    )


async def test_a_stream_that_ends_before_its_first_message_is_refused(serving: Serving) -> None:
    async with serving() as daemon:
        code, message = await daemon.client.refusal()
    assert code is INVALID
    assert "ended before its first message" in message


async def test_a_second_configuration_is_refused_after_what_came_before_it_is_answered(
    serving: Serving,
) -> None:
    async with serving() as daemon:
        call = daemon.client.stream(opening(), *chunks(speech(1.0)), opening())
        end = await call.ending()
        assert await serves_others(daemon.client)
    assert end.code is INVALID
    assert "streaming_config was sent a second time" in end.message
    assert end.texts == ["1000ms "]


async def test_a_message_over_the_limit_is_refused_and_one_at_the_limit_is_not(serving: Serving) -> None:
    request = asr.RecognizeRequest(config=pcm(sample_rate_hertz=192_000))
    # The field's tag and its length of four bytes come before the audio.
    request.audio = bytes(MAX_MESSAGE_BYTES - request.ByteSize() - 5)
    assert request.ByteSize() == MAX_MESSAGE_BYTES
    async with serving() as daemon:
        assert not (await daemon.client.stub.Recognize(request)).results
        request.audio += b"\0"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await daemon.client.stub.Recognize(request)
        streamed = asr.StreamingRecognizeRequest(audio_content=bytes(MAX_MESSAGE_BYTES))
        code, _ = await daemon.client.refusal(opening(), streamed)
        assert await serves_others(daemon.client)
    assert caught.value.code() is code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MAX_MESSAGE_BYTES) in (caught.value.details() or "")


@pytest.mark.parametrize(
    "begin", [[], [opening()], [opening(), *chunks(speech(0.5))]], ids=["nothing", "config", "speech"]
)
async def test_a_stream_that_goes_silent_is_ended(
    serving: Serving, begin: list[asr.StreamingRecognizeRequest]
) -> None:
    async with serving(settings=SessionSettings(idle_seconds=0.3)) as daemon, asyncio.timeout(10):
        call = daemon.client.stream()
        for request in begin:
            await call.write(request)
        end = await call.ending()
        assert await serves_others(daemon.client)
        await daemon.sessions.until(lambda: daemon.sessions.active == 0)
    assert end.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "0.3 s (limits.idle_seconds)" in end.message
    assert end.texts == (["500ms "] if len(begin) > 1 else [])


async def test_one_stream_too_many_is_refused_and_may_come_again(serving: Serving) -> None:
    async with serving(settings=SessionSettings(max_streams=1)) as daemon:
        first = daemon.client.stream()
        await first.write(opening())
        await daemon.sessions.until(lambda: daemon.sessions.active == 1)
        code, message = await daemon.client.refusal(opening(), *chunks(speech(0.1)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "limit" in message
        first.cancel()
        await daemon.sessions.until(lambda: daemon.sessions.active == 0)
        assert await serves_others(daemon.client)


async def test_a_client_killed_in_mid_stream_leaves_nothing_behind_and_no_final(serving: Serving) -> None:
    engine = FakeEngine()
    support_folder = str(Path(support.__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([support_folder, *filter(None, sys.path)])}
    script = Path(support_folder) / "endless_client.py"
    async with serving(engine) as daemon:
        killed = await asyncio.create_subprocess_exec(
            sys.executable, script, daemon.server.addresses[0], env=environment, stdout=subprocess.PIPE
        )
        try:
            assert killed.stdout is not None
            assert await killed.stdout.readline() == b"streaming\n"
            assert await serves_others(daemon.client)
            await daemon.sessions.until(lambda: daemon.sessions.active == 1)
            before = len(engine.pieces)
        finally:
            killed.kill()
            await killed.communicate()
        await daemon.sessions.until(lambda: daemon.sessions.active == 0)
        assert len(engine.pieces) == before
        assert await serves_others(daemon.client)


async def test_a_call_that_its_client_cancels_frees_its_place(serving: Serving) -> None:
    async with serving() as daemon:
        call = daemon.client.stream()
        for request in (opening(), *chunks(speech(1.0))):
            await call.write(request)
        await daemon.sessions.until(lambda: daemon.sessions.active == 1)
        call.cancel()
        await daemon.sessions.until(lambda: daemon.sessions.active == 0)
        assert await serves_others(daemon.client)


async def test_a_device_that_fails_is_named_and_the_next_stream_may_succeed(serving: Serving) -> None:
    async with serving(FakeEngine(failures=1)) as daemon:
        code, message = await daemon.client.refusal(opening(), *chunks(speech(0.5)))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "cpu" in message


class Faulty:
    """An engine whose answer is a mistake of the program, not of a device."""

    def recognize(self, audio: Sequence[Samples], options: object) -> list[Transcript]:
        return [Transcript("x", words="not words", confidence=0.5) for _ in audio]  # type: ignore[arg-type]


async def test_a_mistake_of_the_program_is_logged_and_its_text_is_not_sent(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "parakeetd.rpc"):
        async with serving(Faulty()) as daemon:
            code, message = await daemon.client.refusal(opening(), *chunks(speech(0.5)))
    assert (code, message) == (
        grpc.StatusCode.INTERNAL,
        "an unexpected error in the daemon; its log has the details",
    )
    assert caplog.records[0].exc_info


async def test_a_model_that_is_not_served_is_named_in_the_error(serving: Serving) -> None:
    async with serving() as daemon:
        with pytest.raises(grpc.aio.AioRpcError, match="model 'other' is not served; served: fake"):
            await daemon.client.stub.GetRivaSpeechRecognitionConfig(
                asr.RivaSpeechRecognitionConfigRequest(model_name="other")
            )


async def test_what_a_client_sent_is_not_in_the_log(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with serving() as daemon:
            _, message = await daemon.client.refusal(
                opening(UNDECLARED), *chunks(b"secret words" * 400, 3200)
            )
    # The first bytes of its audio, which the client is told, may be anything.
    assert "73 65 63 72 65 74" in message
    assert "INVALID_ARGUMENT (AudioError)" in caplog.text
    assert "73 65 63" not in caplog.text
