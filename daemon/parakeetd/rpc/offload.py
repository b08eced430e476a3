"""A recording that a server elsewhere recognises: its audio out, its finals in."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, cast

import grpc
import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import audio_blocks
from parakeetd.errors import AudioError, CallFailed
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word
from parakeetd.rpc.abilities import COMMANDS_KEY, DECODER_KEY
from parakeetd.rpc.reach import Reach
from parakeetd.session import Result
from parakeetd.text import taken_back
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio

_BLOCK_SECONDS: Final = 5.0
"""Audio that is read from a file at a time."""

_MESSAGE_BYTES: Final = 64 << 10
"""Two seconds: a message costs a proxy the same, however long it is."""

STALLED_SECONDS: Final = 600.0
"""A server that takes no audio and gives no result for this long is not waited for: its machine may have gone without a
word. A busy one takes audio more often than that."""

_CHANNEL: Final = (
    # Of the machines behind a name any one, another each time; where it does not answer, the next.
    (
        "grpc.service_config",
        json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]}),
    ),
    # A connection for each recording: balancers below HTTP/2 give connections to machines, not calls.
    ("grpc.use_local_subchannel_pool", 1),
)


class CallEnded(CallFailed):
    """A call that a server, or the way to it, has ended with an error."""

    def __init__(self, address: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{address}: {code.name}: {details}" if details else f"{address}: {code.name}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for with every recording."""

    model: str = ""
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    punctuation: bool = True
    profanity_filter: bool = False
    commands: bool = False
    """Spoken commands are done; otherwise the server does as it is configured."""

    @property
    def config(self) -> asr.RecognitionConfig:
        """In Riva's words, for the samples that are sent."""
        custom = {DECODER_KEY: self.decode.decoder} if self.decode.decoder != "tdt" else {}
        return asr.RecognitionConfig(
            encoding=audio.LINEAR_PCM,
            sample_rate_hertz=SAMPLE_RATE,
            audio_channel_count=1,
            language_code=self.decode.language,
            model=self.model,
            enable_word_time_offsets=True,
            enable_automatic_punctuation=self.punctuation,
            profanity_filter=self.profanity_filter,
            speech_contexts=[
                asr.SpeechContext(phrases=[phrase], boost=boost) for phrase, boost in self.decode.boosts
            ],
            custom_configuration=custom | ({COMMANDS_KEY: "true"} if self.commands else {}),
        )


@dataclass(frozen=True, slots=True)
class Offloaded:
    """What came back."""

    segments: tuple[Result, ...]
    between: str
    """What is written between their texts."""
    audio_seconds: float
    processing_seconds: float
    """Wall time of the call."""


def default_model(address: str, reach: Reach, timeout_seconds: float) -> str:
    """The name of the model that answers who names none; empty where the server does not tell.

    Raises:
        CallEnded: it is not there, or does not let us in.
    """
    with reach.channel(address, _CHANNEL) as channel, _told(address):
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        try:
            answer = stub.GetRivaSpeechRecognitionConfig(
                asr.RivaSpeechRecognitionConfigRequest(),
                metadata=reach.metadata or None,
                timeout=timeout_seconds,
            )
        except grpc.RpcError as error:
            # It need not be ours, and not every Riva has this call.
            if cast("grpc.Call", error).code() is grpc.StatusCode.UNIMPLEMENTED:
                return ""
            raise
    return answer.model_config[0].model_name if answer.model_config else ""


async def offload(address: str, path: Path, wishes: Wishes, reach: Reach) -> Offloaded:
    """Have a recording recognised: it is decoded here and streamed, as fast as the server takes it.

    A stream has no longest message, needs the memory of a few seconds here and there, and is recognised while it is
    sent; its finals are those that the recording would get in one message.

    Raises:
        AudioError: the file cannot be read; the message names it.
        CallEnded: the server did not answer it, or not to its end.
    """
    blocks = audio_blocks(path, _BLOCK_SECONDS)
    begun, clock = time.monotonic(), asyncio.get_running_loop()
    heard: list[Transcript] = []
    # gRPC's client for asyncio loses the status of a call that ends while it is still sending, and with it the reason.
    with ThreadPoolExecutor(1) as reader, reach.channel(address, _CHANNEL) as channel:
        # Most files that are no audio show it here, before anybody is asked.
        sending = _Sending(await clock.run_in_executor(reader, next, blocks), blocks)
        call = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(
            sending.requests(wishes.config), metadata=reach.metadata or None
        )
        try:
            with _told(address):
                while (response := await _next(call, sending, reader)) is not None:
                    heard += (_transcript(result) for result in response.results if result.is_final)
        finally:
            sending.left.set()
            call.cancel()
    if sending.failed is not None:
        raise sending.failed
    found, between = _segments(heard)
    return Offloaded(found, between, sending.seconds, time.monotonic() - begun)


class _Sending:
    """The messages of one stream. gRPC takes them from a thread of its own, as fast as the server reads."""

    def __init__(self, first: Samples, rest: Iterator[Samples]) -> None:
        self._first = first
        self._rest = rest
        self.left = threading.Event()
        """Set when nobody wants them any more."""
        self.moved = time.monotonic()
        """When the last one was taken."""
        self.seconds = 0.0
        """Of audio so far."""
        self.failed: AudioError | None = None

    def requests(self, config: asr.RecognitionConfig) -> Iterator[asr.StreamingRecognizeRequest]:
        yield asr.StreamingRecognizeRequest(streaming_config=asr.StreamingRecognitionConfig(config=config))
        try:
            for block in itertools.chain((self._first,), self._rest):
                pcm = np.round(np.clip(block, -1, 1) * 32767).astype("<i2").tobytes()
                for at in range(0, len(pcm), _MESSAGE_BYTES):
                    if self.left.is_set():
                        return
                    self.moved = time.monotonic()
                    yield asr.StreamingRecognizeRequest(audio_content=pcm[at : at + _MESSAGE_BYTES])
                self.seconds += len(block) / SAMPLE_RATE
        except AudioError as error:
            # Raised here it would end in gRPC's log; the stream ends, and with it the wait for its results.
            self.failed = error


async def _next(
    call: Iterator[asr.StreamingRecognizeResponse], sending: _Sending, reader: ThreadPoolExecutor
) -> asr.StreamingRecognizeResponse | None:
    """The next response, or None; waited for while anything moves.

    Raises:
        _Stalled: nothing does.
    """
    asked = time.monotonic()
    waiting = asyncio.get_running_loop().run_in_executor(reader, next, call, None)
    try:
        while not waiting.done():
            if (left := max(asked, sending.moved) + STALLED_SECONDS - time.monotonic()) <= 0:
                raise _Stalled
            await asyncio.wait({waiting}, timeout=left)
        return await waiting
    finally:
        waiting.cancel()


class _Stalled(Exception):
    pass


@contextmanager
def _told(address: str) -> Iterator[None]:
    """
    Raises:
        CallEnded: a call within the block failed.
    """
    try:
        yield
    except grpc.RpcError as error:
        # What is raised is the call as well, which its annotations do not know.
        ended = cast("grpc.Call", error)
        raise CallEnded(address, ended.code(), ended.details() or "") from error
    except _Stalled:
        stalled = f"no sign of life for {STALLED_SECONDS:g} s"
        raise CallEnded(address, grpc.StatusCode.UNAVAILABLE, stalled) from None


def _transcript(result: asr.StreamingRecognitionResult) -> Transcript:
    if not result.alternatives:
        return Transcript()
    best = result.alternatives[0]
    words = tuple(
        Word(word.word, word.start_time / 1000, word.end_time / 1000, word.confidence) for word in best.words
    )
    return Transcript(best.transcript, words, confidence=best.confidence)


def _segments(heard: Sequence[Transcript]) -> tuple[tuple[Result, ...], str]:
    """Finals as a file's segments, and what is between them. Riva does not tell where the audio was cut: a segment is
    as long as its words."""
    kept = [transcript for transcript in taken_back(heard) if transcript.text]
    # Riva ends each final in a space, so that clients can append the next. Where spoken commands are done it comes with
    # the next one, or does not.
    spaced = all(transcript.text.endswith(" ") for transcript in kept)
    found = []
    end = 0.0
    for transcript in kept:
        words = transcript.words
        start, end = (words[0].start, words[-1].end) if words else (end, end)
        text = transcript.text.removesuffix(" ") if spaced else transcript.text
        found.append(Result(start, end, replace(transcript, text=text), "remote"))
    return tuple(found), " " if spaced else ""
