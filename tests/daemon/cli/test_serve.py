"""`parakeetd serve` as a process: what it says, its signals, its addresses, and why it does not start."""

from __future__ import annotations

import json
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from commands import Command, Served, run, served
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio

FREE = ("--listen", "127.0.0.1:0")


class OpenStream:
    """A client that has begun a stream and sends nothing."""

    def __init__(self, address: str) -> None:
        self._leave = threading.Event()
        self._channel = grpc.insecure_channel(address)
        self._answers = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(self._channel).StreamingRecognize(
            self._requests()
        )
        # The server's first headers say that it has taken the stream.
        self.code: grpc.StatusCode | None = None

    def _requests(self) -> Iterator[asr.StreamingRecognizeRequest]:
        config = asr.RecognitionConfig(encoding=audio.LINEAR_PCM, sample_rate_hertz=16_000)
        streaming = asr.StreamingRecognitionConfig(config=config, interim_results=True)
        yield asr.StreamingRecognizeRequest(streaming_config=streaming)
        # Enough noise for an interim: its arrival shows that the stream is open.
        noise = bytes(range(1, 256)) * 1024
        yield asr.StreamingRecognizeRequest(audio_content=noise)
        self._leave.wait(60)

    def close(self) -> None:
        self._leave.set()
        self._channel.close()
