"""A server that speaks Riva's gRPC and does as a test says: for what real servers do only when they break."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc

Streamed = Iterator[asr.StreamingRecognizeRequest]
Answer = Callable[["Talk"], Iterator[str]]
"""Yields finals; may abort."""


@dataclass
class Talk:
    """A stream."""

    number: int
    """Of all streams so far, from 0."""
    config: asr.RecognitionConfig
    requests: Streamed
    context: grpc.ServicerContext
    gone: threading.Event
    """Set when the client has left."""

    def pcm(self) -> bytes:
        """All that the client sends."""
        return b"".join(request.audio_content for request in self.requests)


@dataclass
class StandIn(riva_asr_pb2_grpc.RivaSpeechRecognitionServicer):
    answer: Answer
    address: str = ""
    talks: list[Talk] = field(default_factory=list)
    tokens: list[str | bytes] = field(default_factory=list)
    """What the calls carried as `authorization`."""
    open_now: int = 0
    most_open: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def GetRivaSpeechRecognitionConfig(  # noqa: N802  (the service names it)
        self, request: asr.RivaSpeechRecognitionConfigRequest, context: grpc.ServicerContext
    ) -> asr.RivaSpeechRecognitionConfigResponse:
        config = asr.RivaSpeechRecognitionConfigResponse.Config(model_name="stand-in")
        return asr.RivaSpeechRecognitionConfigResponse(model_config=[config])

    def Recognize(  # noqa: N802  (the service names it)
        self, request: asr.RecognizeRequest, context: grpc.ServicerContext
    ) -> asr.RecognizeResponse:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "streams only")

    def StreamingRecognize(  # noqa: N802  (the service names it)
        self, request_iterator: Streamed, context: grpc.ServicerContext
    ) -> Iterator[asr.StreamingRecognizeResponse]:
        gone = threading.Event()
        context.add_callback(gone.set)
        first = next(request_iterator)
        with self._lock:
            talk = Talk(len(self.talks), first.streaming_config.config, request_iterator, context, gone)
            self.talks.append(talk)
            self.tokens += [value for key, value in context.invocation_metadata() if key == "authorization"]
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        try:
            for text in self.answer(talk):
                words = [asr.WordInfo(word=word, confidence=0.5) for word in text.split()]
                best = asr.SpeechRecognitionAlternative(transcript=f"{text} ", confidence=0.5, words=words)
                result = asr.StreamingRecognitionResult(alternatives=[best], is_final=True)
                yield asr.StreamingRecognizeResponse(results=[result])
        finally:
            with self._lock:
                self.open_now -= 1


@contextmanager
def stand_in(answer: Answer) -> Iterator[StandIn]:
    """It listens at a free port."""
    servicer = StandIn(answer)
    with ThreadPoolExecutor(32) as threads:
        server = grpc.server(threads)
        riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server(servicer, server)
        servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield servicer
        finally:
            for talk in servicer.talks:
                talk.gone.set()
            server.stop(None).wait()
