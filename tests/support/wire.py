"""A client for tests of the wire, and the audio that it sends."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import grpc
import numpy as np
import pytest

from calls import Call
from clips import CLIPS
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.model.decoding import DecodeOptions
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.client import NO_GUARD
from parakeetd.rpc.reach import Reach
from parakeetd.session import Client as Holder
from parakeetd.session import Result, ServedModel, Sessions, SessionSettings
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio

Metadata = tuple[tuple[str, str], ...]

UNLIMITED = [("grpc.max_send_message_length", -1)]
"""Options of a channel: the daemon's limit is what is tested."""


RIVA_LOG = "parakeetd.rpc.riva"
ASKED_LOG = "parakeetd.entrance.asked"
"""What the log says of what clients ask for; the second of models and languages, in any protocol."""


def told_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines of these logs; those that say how calls ended are another's."""
    return [record.getMessage() for record in caplog.records if record.name in (RIVA_LOG, ASKED_LOG)]


def speech(seconds: float) -> bytes:
    """Raw 16-bit audio at 16 kHz: a shipped clip over and over, without its pauses."""
    wanted = round(seconds * SAMPLE_RATE)
    return bytes((np.resize(_spoken(), wanted) * 32767).astype("<i2").tobytes())


@functools.cache
def _spoken() -> Samples:
    clip = read_audio(CLIPS / "digits.flac")
    frames = clip[: len(clip) // 320 * 320].reshape(-1, 320)
    return frames[np.abs(frames).max(axis=1) > 0.05].ravel()


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * SAMPLE_RATE))


def pcm(**fields: Any) -> asr.RecognitionConfig:
    """What a microphone client sends."""
    return asr.RecognitionConfig(**{"encoding": audio.LINEAR_PCM, "sample_rate_hertz": SAMPLE_RATE} | fields)


def opening(
    config: asr.RecognitionConfig | None = None, *, interim: bool = False
) -> asr.StreamingRecognizeRequest:
    """The first message of a stream."""
    streaming = asr.StreamingRecognitionConfig(config=config or pcm(), interim_results=interim)
    return asr.StreamingRecognizeRequest(streaming_config=streaming)


def chunks(data: bytes, chunk_bytes: int = 640) -> list[asr.StreamingRecognizeRequest]:
    """The later messages of a stream."""
    return [
        asr.StreamingRecognizeRequest(audio_content=data[at : at + chunk_bytes])
        for at in range(0, len(data), chunk_bytes)
    ]


@dataclass
class Client:
    address: str
    channel: grpc.aio.Channel
    reach: Reach = NO_GUARD

    def __post_init__(self) -> None:
        self.stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(self.channel)
        # Of streams; see `calls`. It is a connection of its own: channels of one process share one otherwise.
        self.blocking = self.reach.channel(self.address, [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)])

    def close(self) -> None:
        self.blocking.close()

    def stream(
        self, *requests: asr.StreamingRecognizeRequest, metadata: Metadata = (), timeout: float | None = None
    ) -> Call:
        """A stream: of these messages, or open for what is written to it."""
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(self.blocking)
        call = Call(partial(stub.StreamingRecognize, metadata=metadata, timeout=timeout))
        if requests:
            call.send_all(requests)
        return call

    async def answers(self, *requests: asr.StreamingRecognizeRequest) -> list[asr.StreamingRecognitionResult]:
        """All results of a stream of these messages, which the client then half-closes."""
        call = self.stream()
        call.send_all(requests)
        return [item async for response in call for item in response.results]

    async def refusal(self, *requests: asr.StreamingRecognizeRequest) -> tuple[grpc.StatusCode, str]:
        """The error that a stream of these messages ends with."""
        with pytest.raises(grpc.RpcError) as caught:
            await self.answers(*requests)
        call = cast("grpc.Call", caught.value)
        return call.code(), call.details() or ""

    async def text(self, data: bytes) -> str:
        """What is recognised in raw audio, streamed."""
        results = await self.answers(opening(), *chunks(data))
        return "".join(result.alternatives[0].transcript for result in results).strip()


class WatchedSessions(Sessions):
    """Sessions that tell a test what happens in them, so that it need not guess how long that takes."""

    def __init__(self, models: tuple[ServedModel, ...], settings: SessionSettings) -> None:
        super().__init__(models, settings)
        self.heard_samples = 0
        """Samples at 16 kHz that have been read, over all streams."""
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; it is looked at when a stream comes, begins, reads or ends, and when a drain begins."""
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @contextmanager
    def place(self, client: Holder) -> Iterator[None]:
        try:
            with super().place(client):
                self._changed.set()
                yield
        finally:
            self._changed.set()

    async def stream(
        self,
        chunks: AsyncIterator[Samples],
        *,
        model: str = "",
        interim: bool = False,
        segmentation: Segmentation | None = None,
        decode: DecodeOptions | None = None,
    ) -> AsyncGenerator[Result, None]:
        watched = super().stream(
            self._watched(chunks),
            model=model,
            interim=interim,
            segmentation=segmentation,
            decode=decode,
        )
        try:
            async with aclosing(watched) as results:
                async for result in results:
                    yield result
        finally:
            self._changed.set()

    async def drain(self, grace_seconds: float, flush_seconds: float) -> bool:
        self.draining = True
        self._changed.set()
        return await super().drain(grace_seconds, flush_seconds)

    async def _watched(self, chunks: AsyncIterator[Samples]) -> AsyncIterator[Samples]:
        self._changed.set()
        async for chunk in chunks:
            self.heard_samples += len(chunk)
            self._changed.set()
            yield chunk


def sessions_of(settings: SessionSettings) -> Sessions:
    """Sessions without a server, of a model that answers nothing."""
    router = Router({"cpu": FakeEngine})
    router.close(1)
    return Sessions((ServedModel("fake", (), router),), settings)


@dataclass
class Daemon:
    """A server in the test's own process, and a client of it."""

    server: RpcServer
    sessions: WatchedSessions
    client: Client


Serving = Callable[..., AbstractAsyncContextManager[Daemon]]
