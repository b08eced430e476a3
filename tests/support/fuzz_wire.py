"""Damaged messages and connections, against a daemon that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import grpc
import numpy as np

from clips import CLIPS
from fuzz_targets import audio_files, full_config, messages
from mutations import mutated
from parakeetd.audio.sources.file import read_audio
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from wire import opening

SERVICE = "/nvidia.riva.asr.RivaSpeechRecognition/"

CALL_SECONDS = 60.0
"""A call that has not ended by then hangs. None takes a second on an idle machine."""

BAD_CODES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE)
"""Answers to damaged input that are not the client's fault but the daemon's."""

CLIP, SAID = "digits.flac", "five six one zero eight three"


@dataclass
class Answered:
    cases: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    errors: list[tuple[int, str]] = field(default_factory=list)
    """Case and what was answered, or was not."""


def _as_it_is(data: bytes) -> bytes:
    return data


async def send_damaged(address: str, cases: Sequence[int], seed: int, *, at_once: int = 4) -> Answered:
    """Make a call or a connection for each case, a few at a time, and look at how it ends."""
    answered = Answered()
    numbers = iter(cases)
    seeds = _Seeds()

    async def some() -> None:
        async with grpc.aio.insecure_channel(
            address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            for number in numbers:
                random = Random(f"{seed} wire {number}")
                try:
                    async with asyncio.timeout(CALL_SECONDS):
                        ended = await _case(channel, address, seeds, random)
                except TimeoutError:
                    answered.errors.append((number, f"no answer within {CALL_SECONDS:g} s"))
                    continue
                answered.cases += 1
                answered.codes[ended.code] = answered.codes.get(ended.code, 0) + 1
                if ended.bad:
                    answered.errors.append((number, f"{ended.code}: {ended.details}"[:300]))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())
    return answered


@dataclass(frozen=True)
class _Ended:
    code: str
    details: str = ""
    bad: bool = False


class _Seeds:
    """Good messages."""

    def __init__(self) -> None:
        self.first = messages()
        files = audio_files()
        self.later = [
            asr.StreamingRecognizeRequest(audio_content=file[:3200]).SerializeToString() for file in files
        ]
        undeclared = [asr.RecognizeRequest(audio=file) for file in files]
        self.whole = [request.SerializeToString() for request in undeclared]
        configured = asr.RecognizeRequest(config=full_config(), audio=bytes(3200))
        self.whole.append(configured.SerializeToString())
        self.config = [asr.RivaSpeechRecognitionConfigRequest(model_name="demo").SerializeToString()]


async def _case(channel: grpc.aio.Channel, address: str, seeds: _Seeds, random: Random) -> _Ended:
    match random.randrange(10):
        case 0:
            return await _garbage(address, random)
        case 1 | 2 | 3:
            message = mutated(random.choice(seeds.whole), seeds.whole, random)
            return await _unary(channel, "Recognize", message)
        case 4:
            return await _unary(
                channel, "GetRivaSpeechRecognitionConfig", mutated(seeds.config[0], seeds.first, random)
            )
        case _:
            sent = [random.choice(seeds.first), *random.choices(seeds.later, k=random.randrange(6))]
            for _ in range(1 + random.randrange(2)):
                at = random.randrange(len(sent))
                sent[at] = mutated(sent[at], sent, random)
            return await _stream(address, sent)


async def _unary(channel: grpc.aio.Channel, method: str, message: bytes) -> _Ended:
    call = channel.unary_unary(
        SERVICE + method, request_serializer=_as_it_is, response_deserializer=_as_it_is
    )(message)
    return _ended(await call.code(), await call.details() or "")


async def _stream(address: str, sent: Sequence[bytes]) -> _Ended:
    # Not with grpc.aio, whose client reports INTERNAL when a call is refused while it still sends.
    return await asyncio.to_thread(_streamed, address, sent)


def _streamed(address: str, sent: Sequence[bytes]) -> _Ended:
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        method = channel.stream_stream(
            SERVICE + "StreamingRecognize", request_serializer=_as_it_is, response_deserializer=_as_it_is
        )
        call = method(iter(sent), timeout=CALL_SECONDS)
        with suppress(grpc.RpcError):
            for _ in call:
                pass
        return _ended(call.code(), call.details() or "")


def _ended(code: grpc.StatusCode, details: str) -> _Ended:
    return _Ended(code.name, details, code in BAD_CODES)


async def _garbage(address: str, random: Random) -> _Ended:
    """Bytes that are no HTTP/2, or no longer after its beginning; then the client leaves."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
    sent = mutated(preface + random.randbytes(random.randrange(200)), (), random)
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    with suppress(ConnectionError):
        writer.write(sent)
        await writer.drain()
        if random.random() < 0.5:
            writer.write_eof()
            async with asyncio.timeout(0.2):
                await reader.read()
    with suppress(ConnectionError, TimeoutError):
        writer.close()
        await writer.wait_closed()
    return _Ended("connection")


async def text_of_a_clip(address: str) -> str:
    """What the daemon makes of a shipped clip now."""
    samples = read_audio(CLIPS / CLIP)
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()

    async def requests() -> AsyncIterator[asr.StreamingRecognizeRequest]:
        yield opening()
        for at in range(0, len(pcm), 3200):
            yield asr.StreamingRecognizeRequest(audio_content=pcm[at : at + 3200])

    async with grpc.aio.insecure_channel(address) as channel:
        call = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(requests())
        return "".join(
            [item.alternatives[0].transcript async for response in call for item in response.results]
        ).strip()
