"""Drives LiveKit's NVIDIA plugin, in its environment: `python livekit_client.py ADDRESS FILE`; prints JSON.

The plugin does what it does inside a voice agent: one stream that stays open, 20 ms of audio at a time, at the pace at
which it was spoken.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from typing import Any

from livekit import rtc  # type: ignore[import-not-found]  # in the client's environment only
from livekit.plugins import nvidia  # type: ignore[import-not-found]

CHUNKS_A_SECOND = 50


async def talk(address: str, file: str) -> dict[str, Any]:
    """All events of a stream, each with the seconds of audio that had been sent when it came."""
    with wave.open(file, "rb") as wav:
        rate, data = wav.getframerate(), wav.readframes(wav.getnframes())
    plugin = nvidia.STT(server=address, use_ssl=False)
    stream = plugin.stream()
    sent = 0

    async def speak() -> None:
        nonlocal sent
        chunk_bytes = 2 * rate // CHUNKS_A_SECOND
        clock = asyncio.get_running_loop()
        begun = clock.time()
        for at in range(0, len(data), chunk_bytes):
            chunk = data[at : at + chunk_bytes]
            await asyncio.sleep(begun + (at + len(chunk)) / 2 / rate - clock.time())
            stream.push_frame(
                rtc.AudioFrame(
                    data=chunk, sample_rate=rate, num_channels=1, samples_per_channel=len(chunk) // 2
                )
            )
            sent = at + len(chunk)
        stream.end_input()

    speaking = asyncio.create_task(speak())
    events = []
    async for event in stream:
        said = event.alternatives[0] if event.alternatives else None
        events.append(
            {
                "type": event.type.value,
                "text": said.text if said else "",
                "start": said.start_time if said else None,
                "end": said.end_time if said else None,
                "confidence": said.confidence if said else None,
                "sent": sent / 2 / rate,
            }
        )
    await speaking
    await stream.aclose()
    await plugin.aclose()
    return {"events": events, "seconds": len(data) / 2 / rate}


if __name__ == "__main__":
    json.dump(asyncio.run(talk(*sys.argv[1:])), sys.stdout)
