"""Drives the `wyoming` package, in its environment: `wyoming_client.py WHAT URI [FILE...]`; prints JSON.

Recognition goes as in Home Assistant: a connection, `transcribe`, the audio in small chunks, and then events are read
until the transcript has come.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from typing import Any

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStop
from wyoming.audio import wav_to_chunks
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.info import Describe

CHUNK_FRAMES = 1024


async def info(uri: str) -> dict[str, Any]:
    """What the server says that it offers."""
    async with AsyncClient.from_uri(uri) as client:
        await client.write_event(Describe().event())
        event = await client.read_event()
        return {} if event is None else event.data


async def transcripts(uri: str, *files: str) -> list[dict[str, Any]]:
    """WAV files, one after the other at one connection."""
    async with AsyncClient.from_uri(uri) as client:
        return [await transcript(client, file) for file in files]


async def halves(uri: str, file: str, seconds: str) -> dict[str, Any]:
    """A file of which the rest is sent only when a piece of text has come for what was sent so far."""
    async with AsyncClient.from_uri(uri) as client:
        return await transcript(client, file, float(seconds))


async def transcript(client: AsyncClient, file: str, pause_at: float = float("inf")) -> dict[str, Any]:
    await client.write_event(Transcribe(language="en").event())
    sent, early = 0.0, None
    with wave.open(file, "rb") as wav:
        for part in wav_to_chunks(wav, CHUNK_FRAMES, start_event=True, stop_event=True):
            await client.write_event(part.event())
            sent += getattr(part, "seconds", 0.0)
            if early is None and sent >= pause_at:
                early = await up_to(client, TranscriptChunk)
    events = (early or []) + await up_to(client, TranscriptStop)
    said = [Transcript.from_event(event).text for event in events if Transcript.is_type(event.type)]
    pieces = [
        TranscriptChunk.from_event(event).text for event in events if TranscriptChunk.is_type(event.type)
    ]
    return {
        "events": [event.type for event in events],
        "text": said,
        "pieces": pieces,
        "early": [event.type for event in early or []],
    }


async def up_to(client: AsyncClient, last: Any) -> list[Event]:
    """Events, the last one of this type."""
    events = []
    while (event := await client.read_event()) is not None:
        events.append(event)
        if last.is_type(event.type):
            break
    return events


WAYS = {way.__name__: way for way in (info, transcripts, halves)}

if __name__ == "__main__":
    json.dump(asyncio.run(WAYS[sys.argv[1]](*sys.argv[2:])), sys.stdout)
