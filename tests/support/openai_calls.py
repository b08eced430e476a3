"""Calls of the OpenAI adapter in the test's own process."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from parakeetd.audio import SAMPLE_RATE
from wire import silence, speech


def wav(data: bytes) -> bytes:
    """16-bit samples at 16 kHz as a file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(data)
    return file.getvalue()


def form(audio: bytes | None, *fields: tuple[str, str]) -> aiohttp.FormData:
    made = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields:
        made.add_field(name, value)
    if audio is not None:
        made.add_field("file", audio, filename="talk.wav", content_type="audio/wav")
    return made


class Client:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    def post(self, data: Any, **more: Any) -> Any:
        return self.session.post(f"{self.url}/audio/transcriptions", data=data, **more)

    async def text(self, audio: bytes, *fields: tuple[str, str]) -> str:
        async with self.post(form(audio, *fields)) as answer:
            assert answer.status == 200, await answer.text()
            return str(await answer.text())

    async def refusal(self, data: Any, **more: Any) -> tuple[int, dict[str, Any]]:
        async with self.post(data, **more) as answer:
            return answer.status, (await answer.json())["error"]


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20), **options) as session:
        yield Client(session, url)


TALK = wav(speech(1.0) + silence(2) + speech(1.5) + silence(2))
"""Two utterances."""
