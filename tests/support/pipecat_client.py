"""Drives pipecat's NVIDIA service, in its environment: `python pipecat_client.py ADDRESS FILE`; prints JSON.

The service sits in a pipeline as in a voice agent, with the settings it has by itself: one stream that stays open,
endpoints after 320 ms, 20 ms of audio at a time, at the pace at which it was spoken.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from typing import Any

from loguru import logger  # type: ignore[import-not-found]  # in the client's environment only
from pipecat.frames.frames import (  # type: ignore[import-not-found]
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline  # type: ignore[import-not-found]
from pipecat.pipeline.worker import PipelineWorker  # type: ignore[import-not-found]
from pipecat.processors.frame_processor import (  # type: ignore[import-not-found]
    FrameDirection,
    FrameProcessor,
)
from pipecat.services.nvidia.stt import NvidiaSTTService  # type: ignore[import-not-found]
from pipecat.workers.runner import WorkerRunner  # type: ignore[import-not-found]

CHUNKS_A_SECOND = 50

LISTEN_SECONDS = 3.0
"""After the audio: the service drops its stream at the end of the pipeline without waiting for answers."""


class Ear(FrameProcessor):  # type: ignore[misc]
    """Keeps what the service says."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[dict[str, Any]] = []
        self.sent = 0.0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, (TranscriptionFrame, InterimTranscriptionFrame)):
            final = isinstance(frame, TranscriptionFrame)
            self.heard.append({"text": frame.text, "final": final, "sent": self.sent})
        await self.push_frame(frame, direction)


async def talk(address: str, file: str) -> dict[str, Any]:
    """Everything the service says, each with the seconds of audio that had been sent when it came."""
    with wave.open(file, "rb") as wav:
        rate, data = wav.getframerate(), wav.readframes(wav.getnframes())
    ear = Ear()
    service = NvidiaSTTService(server=address, use_ssl=False, sample_rate=rate)
    agent = PipelineWorker(Pipeline([service, ear]))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(agent)

    async def speak() -> None:
        chunk_bytes = 2 * rate // CHUNKS_A_SECOND
        clock = asyncio.get_running_loop()
        begun = clock.time()
        for at in range(0, len(data), chunk_bytes):
            chunk = data[at : at + chunk_bytes]
            await asyncio.sleep(begun + (at + len(chunk)) / 2 / rate - clock.time())
            await agent.queue_frame(InputAudioRawFrame(audio=chunk, sample_rate=rate, num_channels=1))
            ear.sent = (at + len(chunk)) / 2 / rate
        await asyncio.sleep(LISTEN_SECONDS)
        await agent.queue_frame(EndFrame())

    await asyncio.gather(runner.run(), speak())
    return {"heard": ear.heard, "seconds": len(data) / 2 / rate}


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    json.dump(asyncio.run(talk(*sys.argv[1:])), sys.stdout)
