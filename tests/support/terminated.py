"""A daemon under load that is told to end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from speech_load import pair
from steady_load import Talk, talk, talks
from watching import Watched, watched
from wire import chunks, opening, pcm, silence, speech

MAX_SECONDS = 20.0
ANSWER_SECONDS = 2.0
"""An utterance that ended so long before SIGTERM has been sent and heard, end of speech and all."""

SPARE_SECONDS = 40.0
"""Streams would go on for so long after SIGTERM."""


@dataclass
class Terminated:
    """A daemon that was told to end."""

    after: float
    """Seconds of speech before SIGTERM."""
    seconds: float = 0.0
    """From SIGTERM to its end."""
    code: int | None = None
    utterances: int = 0
    """That had ended before SIGTERM."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def terminate(streams: int, after: float) -> Terminated:
    """Load a daemon with so many streams, and send it SIGTERM after so many seconds of speech."""
    made = Terminated(after)
    with watched(config=f"[limits]\nmax_streams = {streams + 10}\n") as daemon:
        asyncio.run(_round(daemon, streams, made))
        made.problems += [f"the log says: {line}" for line in daemon.errors()[:20]]
    if made.seconds >= MAX_SECONDS:
        made.problems.append(f"it took {made.seconds:.1f} s, the limit is {MAX_SECONDS:g} s")
    if made.code != 0:
        made.problems.append(f"it ended with exit code {made.code}")
    return made


async def _round(daemon: Watched, streams: int, made: Terminated) -> None:
    clock = asyncio.get_running_loop()
    running = talks(streams, made.after + SPARE_SECONDS)
    begin = clock.time() + 0.5
    async with grpc.aio.insecure_channel(daemon.address) as channel, asyncio.TaskGroup() as group:
        for one in running:
            group.create_task(talk(daemon.address, one, begin))
        odd = [_mute(channel), _unread(channel), _watch(channel), _recording(channel)]
        oddities = [group.create_task(each) for each in odd]
        await asyncio.sleep(max(0.0, begin + made.after - clock.time()))
        told = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        made.code = await asyncio.to_thread(daemon.process.wait, 2 * MAX_SECONDS)
        made.seconds = time.monotonic() - told
        # What does not read would wait for ever for a status that it never reads.
        await asyncio.wait(oddities, timeout=5)
        for each in oddities:
            each.cancel()
    _judge(running, made)


def _judge(running: list[Talk], made: Terminated) -> None:
    made.statuses = Counter(one.code for one in running)
    for number, one in enumerate(running):
        before = [item for item in one.track.spoken if item.end + ANSWER_SECONDS <= made.after]
        made.utterances += len(before)
        for item, finals in zip(before, pair(before, one.finals), strict=True):
            if not finals:
                made.problems.append(f"stream {number} lost {item.text!r} at {item.start:.1f} s")
        if one.code not in ("OK", "UNAVAILABLE"):
            made.problems.append(f"stream {number} ended with {one.code}: {one.details}")


async def _mute(channel: grpc.aio.Channel) -> None:
    """A client that opens a stream and says nothing."""
    call = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize()
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(opening())
        async for _ in call:
            pass


async def _unread(channel: grpc.aio.Channel) -> None:
    """A client that sends and never reads what it is told."""
    call = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize()
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for request in (opening(interim=True), *chunks(speech(3.0) + silence(2.0), 3200)):
            await call.write(request)
        await asyncio.Event().wait()


async def _watch(channel: grpc.aio.Channel) -> None:
    """A watcher of health."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    with suppress(grpc.aio.AioRpcError):
        async for _ in stub.Watch(health_pb2.HealthCheckRequest()):
            pass


async def _recording(channel: grpc.aio.Channel) -> None:
    """A client that sends one recording after another."""
    stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
    with suppress(grpc.aio.AioRpcError):
        while True:
            await stub.Recognize(asr.RecognizeRequest(config=pcm(), audio=speech(20.0)))
