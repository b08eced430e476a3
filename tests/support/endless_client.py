"""A client that streams noise until it is killed: `python endless_client.py ADDRESS`. Says when it has begun."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import grpc

from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from wire import chunks, opening, speech


def requests() -> Iterator[asr.StreamingRecognizeRequest]:
    yield opening()
    yield from chunks(speech(1.0))
    sys.stdout.write("streaming\n")
    sys.stdout.flush()
    while True:
        time.sleep(0.02)
        yield from chunks(speech(0.02))


if __name__ == "__main__":
    with grpc.insecure_channel(sys.argv[1]) as channel:
        for _ in riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(requests()):
            pass
