"""A small client, for the demo and for looking at a running daemon."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import grpc
import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import CallFailed
from parakeetd.rpc.reach import Reach
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio

CHUNK_SECONDS: Final = 0.02
"""What microphone clients send at a time."""


NO_GUARD: Final = Reach()
"""Of a server that anyone may use who reaches it."""


@dataclass(frozen=True, slots=True)
class Line:
    """What has been recognised of an utterance."""

    text: str
    is_final: bool
    """False: a later line replaces this one."""


async def stream_file(
    address: str, path: Path, *, real_time: bool = True, reach: Reach = NO_GUARD
) -> AsyncGenerator[Line, None]:
    """Send an audio file to a server as a microphone would, and yield what it recognises.

    Use it under `contextlib.aclosing`, so that a caller that stops early ends the stream.

    Args:
        address: as the server prints it, such as `127.0.0.1:50051` or `unix:/path`.
        real_time: send at the pace of the recording, otherwise as fast as the server takes it.
        reach: what the server wants of its clients.

    Raises:
        AudioError: the file cannot be read.
        CallFailed: the server is not there, or answers with an error.
    """
    samples = await asyncio.to_thread(read_audio, path)
    clock, left = asyncio.get_running_loop(), threading.Event()
    # gRPC's client for asyncio loses the status of a call that ends while it is still sending, and with it the reason.
    # Each stream is a client of its own, with a connection of its own.
    own = (("grpc.use_local_subchannel_pool", 1),)
    with ThreadPoolExecutor(1) as reader, reach.channel(address, own) as channel:
        call = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(
            _requests(samples, left, real_time=real_time), metadata=reach.metadata or None
        )
        try:
            while (response := await clock.run_in_executor(reader, next, call, None)) is not None:
                for result in response.results:
                    yield Line(result.alternatives[0].transcript.strip(), result.is_final)
        except grpc.RpcError as error:
            # What is raised is the call as well, which its annotations do not know.
            ended = cast("grpc.Call", error)
            raise CallFailed(f"server {address}: {ended.code().name}: {ended.details()}") from error
        finally:
            left.set()
            call.cancel()


def _requests(
    samples: Samples, left: threading.Event, *, real_time: bool
) -> Iterator[asr.StreamingRecognizeRequest]:
    config = asr.RecognitionConfig(
        encoding=audio.LINEAR_PCM,
        sample_rate_hertz=SAMPLE_RATE,
        audio_channel_count=1,
        enable_automatic_punctuation=True,
    )
    yield asr.StreamingRecognizeRequest(
        streaming_config=asr.StreamingRecognitionConfig(config=config, interim_results=True)
    )
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    begun = time.monotonic()
    size = round(CHUNK_SECONDS * SAMPLE_RATE)
    for at in range(0, len(pcm), size):
        chunk = pcm[at : at + size]
        # A microphone hands over a chunk when its last sample has been heard.
        due = begun + (at + len(chunk)) / SAMPLE_RATE if real_time else 0.0
        if left.wait(max(0.0, due - time.monotonic())):
            return
        yield asr.StreamingRecognizeRequest(audio_content=chunk.tobytes())
