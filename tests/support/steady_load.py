"""A load that goes on while something happens to the daemon: streams of utterances at the pace of speech, and what each
of them was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np

from calls import Call
from measuring import ROOT
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from speech_load import RATE, Final, Spoken, Track, make_track, pair, shipped_pieces
from speech_servers import until
from wire import opening, pcm

CLIPS = ROOT / "daemon/parakeetd/embedded/clips"
PAUSES = (1.5, 3.0)
"""Shortest and longest pause between utterances, seconds; an utterance ends within the shortest."""

CHUNK = 0.1
"""Seconds of audio in a message."""


@dataclass
class Talk:
    """One stream, and what came back."""

    track: Track
    sent: float = 0.0
    """Seconds of the track that were written."""
    finals: list[Final] = field(default_factory=list)
    code: str = ""
    details: str = ""

    def lost(self, until_seconds: float) -> list[Spoken]:
        """Utterances before this second of the track that no final tells of."""
        spoken = [item for item in self.track.spoken if item.end <= until_seconds]
        return [item for item, finals in zip(spoken, pair(spoken, self.finals), strict=True) if not finals]

    def repeated(self) -> list[Final]:
        """Finals that begin before the one before them ended: told twice, or out of order."""
        # Word times are those of 80 ms frames.
        pairs = zip(self.finals, self.finals[1:], strict=False)
        return [later for earlier, later in pairs if later.start < earlier.end - 0.2]


def talks(count: int, seconds: float) -> list[Talk]:
    """Streams of this length, each with other utterances in another order."""
    track = make_track(shipped_pieces(CLIPS), seconds + 60, PAUSES)
    starts = [
        number
        for number, item in enumerate(track.spoken)
        if item.start + seconds + 2 < len(track.samples) / RATE
    ]
    return [Talk(track.window(starts[7 * number % len(starts)], seconds)) for number in range(count)]


async def talk(address: str, one: Talk, begin: float, stop: asyncio.Event | None = None) -> None:
    """Stream it from the moment `begin` of the loop's clock; to its end, or until `stop` is set."""
    clock = asyncio.get_running_loop()

    async def write(call: Call) -> None:
        await call.write(opening(pcm(audio_channel_count=1, enable_word_time_offsets=True), interim=True))
        size = round(CHUNK * RATE)
        for at in range(0, len(one.track.samples), size):
            chunk = one.track.samples[at : at + size]
            data = np.round(np.clip(chunk, -1, 1) * 32767).astype("<i2").tobytes()
            await until(begin + (at + size) / RATE)
            if stop is not None and stop.is_set():
                break
            if not await call.write(asr.StreamingRecognizeRequest(audio_content=data)):
                return
            one.sent = (at + len(chunk)) / RATE
        call.done_writing()

    # A client's connection is its own: channels of one process share one otherwise.
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = Call(riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize)
        writing = asyncio.create_task(write(call))
        try:
            async for response in call:
                for item in response.results:
                    said = item.alternatives[0]
                    if item.is_final and said.words:
                        start, end = said.words[0].start_time / 1e3, said.words[-1].end_time / 1e3
                        one.finals.append(Final(clock.time(), start, end, said.transcript.strip()))
        except grpc.RpcError:
            pass
        finally:
            writing.cancel()
        one.code, one.details = (await call.code()).name, await call.details()


def judged(streams: Sequence[Talk], until_seconds: float | None = None) -> list[str]:
    """What is wrong with what streams were answered, in words.

    Args:
        until_seconds: utterances that ended later may be missing; those that were sent must be there when not given.
    """
    problems = []
    for number, one in enumerate(streams):
        counted = one.sent if until_seconds is None else min(one.sent, until_seconds)
        problems += [
            f"stream {number} lost {item.text!r} at {item.start:.1f} s" for item in one.lost(counted)
        ]
        problems += [
            f"stream {number} was told {final.text!r} again or out of order" for final in one.repeated()
        ]
    return problems
