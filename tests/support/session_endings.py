"""All the ways in which a session with the daemon can end, each as a client of it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import grpc

from calls import Call
from clips import CLIPS
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from wavs import chunk, fmt, wav
from wire import chunks, opening, pcm, silence, speech

Code = grpc.StatusCode
Stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub
Requests = Sequence[asr.StreamingRecognizeRequest]

CALL_SECONDS = 120.0
"""A call that has not ended by then never does."""

IDLE_SECONDS = 4.0
"""`limits.idle_seconds` of the daemon that these are for."""

MAX_STREAMS = 24
"""`limits.max_streams`."""

CONFIG = f"[limits]\nmax_streams = {MAX_STREAMS}\nidle_seconds = {IDLE_SECONDS}\n"

OWN = [("grpc.use_local_subchannel_pool", 1)]
"""Options of a client's own connection: channels of one process share one otherwise."""

CLIP = CLIPS / "digits.flac"
SAID = "five six one zero eight three"

UNDECLARED = opening(asr.RecognitionConfig())
HEADER = wav(fmt(1, 1, 16_000, 16), chunk(b"data", b"", size=0xFFFFFFFF))


@dataclass
class Endings:
    """What came of the sessions of a run."""

    sessions: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Sessions that ended otherwise than they should have."""


def _streamed(address: str, requests: Requests, seconds: float = CALL_SECONDS) -> tuple[Code, str]:
    """Code and text of a stream of these messages."""
    with grpc.insecure_channel(address, options=OWN) as channel:
        call = Stub(channel).StreamingRecognize(iter(requests), timeout=seconds)
        texts = []
        with suppress(grpc.RpcError):
            for response in call:
                texts += [item.alternatives[0].transcript for item in response.results if item.is_final]
        return call.code(), "".join(texts).strip()


def _stream_of(requests: Requests, code: Code, text: str | None = None) -> Session:
    async def session(address: str, _random: Random) -> str:
        found, said = await asyncio.to_thread(_streamed, address, requests)
        if found is code and text in (None, said):
            return ""
        return f"{found.name} and {said!r} instead of {code.name} and {text!r}"

    return session


def _held_open(requests: Requests, code: Code, *, deadline: float | None = None) -> Session:
    """A client that says this and then nothing."""

    async def session(address: str, _random: Random) -> str:
        with grpc.insecure_channel(address, options=OWN) as channel:
            call = Call(partial(Stub(channel).StreamingRecognize, timeout=deadline))
            for request in requests:
                await call.write(request)
            # The status comes after all results: they must be read.
            found = (await call.ending()).code
            return "" if found is code else f"{found.name} instead of {code.name}"

    return session


def _channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=OWN)


async def _cancelled(address: str, random: Random) -> str:
    """The client cancels, somewhere in the middle."""
    async with _channel(address) as channel:
        call = Stub(channel).StreamingRecognize()
        requests = [opening(interim=True), *chunks(speech(1.0), 3200)]
        for request in requests[: random.randrange(len(requests) + 1)]:
            await call.write(request)
        call.cancel()
        found = await call.code()
    return "" if found is Code.CANCELLED else f"{found.name} instead of CANCELLED"


async def _disconnected(address: str, random: Random) -> str:
    """The connection goes while the client sends."""
    channel = _channel(address)
    call = Stub(channel).StreamingRecognize()
    requests = [opening(), *chunks(speech(1.0), 3200)]
    for request in requests[: random.randrange(1, len(requests) + 1)]:
        await call.write(request)
    await channel.close(None)
    return ""


async def _unary(address: str, _random: Random) -> str:
    async with _channel(address) as channel:
        answer = await Stub(channel).Recognize(asr.RecognizeRequest(audio=CLIP.read_bytes()))
        said = "".join(item.alternatives[0].transcript for item in answer.results)
    return "" if said == SAID else f"{said!r} instead of {SAID!r}"


async def _unary_left(address: str, random: Random) -> str:
    """A recording whose client does not wait for the answer."""
    async with _channel(address) as channel:
        call = Stub(channel).Recognize(asr.RecognizeRequest(config=pcm(), audio=speech(20.0)))
        await asyncio.sleep(0.05 * random.random())
        call.cancel()
        found = await call.code()
    return "" if found in (Code.CANCELLED, Code.OK) else f"{found.name} instead of CANCELLED"


async def _unary_refused(address: str, _random: Random) -> str:
    async with _channel(address) as channel:
        call = Stub(channel).Recognize(asr.RecognizeRequest(audio=b"no audio at all"))
        found = await call.code()
    return "" if found is Code.INVALID_ARGUMENT else f"{found.name} instead of INVALID_ARGUMENT"


Session = Callable[[str, Random], Awaitable[str]]
"""A session with the daemon at an address; what was wrong, or nothing."""

FLAC = CLIP.read_bytes()
NO_DECODER = pcm(custom_configuration={"decoder": "of another make"})

SESSIONS: Mapping[str, Session] = {
    "normal end": _stream_of([opening(), *chunks(speech(1.0), 3200), *chunks(silence(1.2), 3200)], Code.OK),
    "a file": _stream_of([UNDECLARED, *chunks(FLAC, 3200)], Code.OK, SAID),
    "half close in a word": _stream_of([opening(interim=True), *chunks(speech(0.7), 640)], Code.OK),
    "silence": _stream_of([opening(), *chunks(silence(0.5), 3200)], Code.OK, ""),
    "empty": _stream_of([], Code.INVALID_ARGUMENT, ""),
    "configuration only": _stream_of([opening()], Code.INVALID_ARGUMENT, ""),
    "no configuration": _stream_of(chunks(speech(0.2), 3200), Code.INVALID_ARGUMENT, ""),
    "header only": _stream_of([UNDECLARED, *chunks(HEADER)], Code.INVALID_ARGUMENT, ""),
    "half a header": _stream_of([UNDECLARED, *chunks(HEADER[:30])], Code.INVALID_ARGUMENT, ""),
    "half a file": _stream_of([UNDECLARED, *chunks(FLAC[:60])], Code.INVALID_ARGUMENT, ""),
    "no audio": _stream_of([UNDECLARED, *chunks(b"<html>" * 100)], Code.INVALID_ARGUMENT, ""),
    "error in mid-stream": _stream_of(
        [opening(), *chunks(speech(1.0), 3200), opening()], Code.INVALID_ARGUMENT
    ),
    "no such decoder": _stream_of([opening(NO_DECODER), *chunks(speech(0.2))], Code.INVALID_ARGUMENT, ""),
    "silent client": _held_open([], Code.DEADLINE_EXCEEDED),
    "silent after the configuration": _held_open([opening()], Code.DEADLINE_EXCEEDED),
    "silent after speech": _held_open([opening(), *chunks(speech(0.6), 3200)], Code.DEADLINE_EXCEEDED),
    "the client's deadline": _held_open(
        [opening(), *chunks(speech(0.6), 3200)], Code.DEADLINE_EXCEEDED, deadline=0.2
    ),
    "cancelled": _cancelled,
    "disconnected": _disconnected,
    "a recording": _unary,
    "a recording that nobody waits for": _unary_left,
    "a recording that is none": _unary_refused,
}


async def end_sessions(address: str, count: int, seed: int, *, at_once: int = 12) -> Endings:
    """So many sessions of all kinds, a few at a time. Some are killed together, some are refused together."""
    random = Random(seed)
    endings = Endings()
    # One of twenty is killed, one of twenty is one too many.
    killed, refused = max(4, count // 20), max(4, count // 20)
    plan = [kind for _ in range(count // len(SESSIONS) + 1) for kind in SESSIONS][: count - killed - refused]
    random.shuffle(plan)
    numbers = iter(enumerate(plan))

    async def some() -> None:
        for number, kind in numbers:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    wrong = await SESSIONS[kind](address, Random(f"{seed} {number}"))
            except (TimeoutError, grpc.RpcError) as error:
                wrong = f"{type(error).__name__}: {error}"
            endings.sessions[kind] += 1
            if wrong:
                endings.wrong.append(f"{kind} (session {number}): {wrong}"[:300])

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())
    for at in range(0, killed, 8):
        await _kill(address, min(8, killed - at))
    endings.sessions["client killed"] += killed
    endings.wrong += await _refuse(address, refused)
    endings.sessions["refused"] += refused
    return endings


async def _kill(address: str, count: int) -> None:
    folder = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, *filter(None, sys.path)])}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(folder, "killed_client.py")),
        address,
        str(count),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdout is None or await process.stdout.readline() != b"streaming\n":
        raise RuntimeError("the clients that are to be killed did not begin")
    process.kill()
    await process.communicate()


async def _refuse(address: str, count: int) -> list[str]:
    """Open as many streams as there may be, and then some more."""
    wrong = []
    with grpc.insecure_channel(address, options=OWN) as channel:

        async def keep_open(call: Call, begun: asyncio.Event) -> None:
            await call.write(opening())
            begun.set()
            while not call.done():
                await call.write(chunks(silence(0.1), 3200)[0])
                await asyncio.sleep(0.3 * IDLE_SECONDS)

        calls = [Call(Stub(channel).StreamingRecognize) for _ in range(MAX_STREAMS)]
        begun = [asyncio.Event() for _ in calls]
        async with asyncio.TaskGroup() as group:
            for call, event in zip(calls, begun, strict=True):
                group.create_task(keep_open(call, event))
            for event in begun:
                await event.wait()
            # What was written may not have been counted yet: until then the refusal does not come.
            first = [opening(), *chunks(silence(0.1), 3200)]
            async with asyncio.timeout(CALL_SECONDS):
                while (await asyncio.to_thread(_streamed, address, first))[0] is Code.OK:
                    pass
            for number in range(count):
                found, _ = await asyncio.to_thread(_streamed, address, first)
                if found is not Code.RESOURCE_EXHAUSTED:
                    wrong.append(f"refused (session {number}): {found.name} instead of RESOURCE_EXHAUSTED")
            for call in calls:
                call.cancel()
    return wrong
