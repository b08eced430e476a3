"""What is said at one Wyoming connection: one request after the other, each a stream like any other client's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from parakeetd.adapters.journal import UNEXPECTED, note_error, noted
from parakeetd.adapters.listener import IDLE_SECONDS, client_of
from parakeetd.adapters.pieces import Pieces
from parakeetd.adapters.wyoming_events import HEADER_BYTES, EventReader, check_same, checked, parsed
from parakeetd.audio.sources.client import ClientAudio, Encoding
from parakeetd.entrance.asked import Asked
from parakeetd.entrance.incoming import Patience, stream_samples
from parakeetd.entrance.limits import CallLimits
from parakeetd.errors import InputError, ParakeetError, TimeLimit
from parakeetd.model.decoding import DecodeOptions
from parakeetd.session import Sessions
from parakeetd.text import HouseStyle, Pen

_log = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 2.0
"""After an error a client may go on sending for so long: if it were cut off it would not read what was wrong."""

_LINGER_BYTES: Final = 1 << 16

_SAMPLE_BYTES: Final = 2
"""Of raw audio as it is decoded; other widths are converted by Wyoming's own means."""


class Talk:
    """Serves one connection."""

    def __init__(
        self,
        sessions: Sessions,
        reader: EventReader,
        writer: asyncio.StreamWriter,
        limits: CallLimits,
        asked: Asked,
        *,
        house: Callable[[], HouseStyle],
        info: Callable[[], Info],
    ) -> None:
        self._sessions = sessions
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._asked = asked
        self._house = house
        self._info = info
        self._client = client_of(writer.transport)
        self.busy = False
        """Whether a stream is being recognised."""

    async def run(self) -> None:
        """Until the client is told of an error. Who runs it cancels it when the client leaves."""
        try:
            await self._requests()
        except ParakeetError as error:
            note_error("Wyoming", self._client, error)
            await self._end_with(str(error), type(error).__name__)
        except ConnectionError:
            _log.debug("a client left while it was being answered")
        except Exception:
            _log.exception("Wyoming from %s failed", self._client.name)
            await self._end_with(UNEXPECTED, "Internal")

    async def _requests(self) -> None:
        asked = Transcribe()
        while (event := await self._next_request()) is not None:
            if Describe.is_type(event.type):
                await self._write(self._info())
            elif Ping.is_type(event.type):
                await self._write(Pong(parsed(Ping, event).text))
            elif Transcribe.is_type(event.type):
                asked = parsed(Transcribe, event)
            elif AudioStart.is_type(event.type) or AudioChunk.is_type(event.type):
                await self._recognise(asked, event)
                asked = Transcribe()
            # Others are for other kinds of services: as the protocol wants it, they are let pass.

    async def _next_request(self) -> Event | None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                return await self._reader.next()
        except TimeoutError:
            return None

    async def _recognise(self, asked: Transcribe, opening: Event) -> None:
        name, language = _text("name", asked.name), _text("language", asked.language)
        with noted("Wyoming", self._client), self._sessions.place(self._client):
            first = parsed(AudioChunk, opening) if AudioChunk.is_type(opening.type) else None
            form = checked(first or parsed(AudioStart, opening))
            rate, _, channels = form
            limits = self._sessions.settings
            patience = Patience(limits.idle_seconds, limits.max_stream_seconds)
            audio = ClientAudio(Encoding.LINEAR_PCM, rate, channels)
            model = self._asked.model_for(name, language)
            style = self._house().style_for(
                punctuation=True,
                profanity_filter=False,
                commands=None,
                language=language,
                spoken=model.languages,
            )
            del model  # it may be replaced, and is then to leave the memory
            pieces = Pieces(Pen(style))
            self.busy, self._reader.most = True, self._limits.max_message_mib << 20
            try:
                async with (
                    aclosing(self._chunks(first, form)) as chunks,
                    aclosing(stream_samples(chunks, _samples_of, audio, patience)) as samples,
                    aclosing(
                        self._sessions.stream(samples, model=name, decode=DecodeOptions(language=language))
                    ) as results,
                ):
                    begun = False
                    async for result in results:
                        if piece := pieces.add(result.transcript):
                            if not begun:
                                await self._write(TranscriptStart(language=language or None))
                            begun = True
                            await self._write(TranscriptChunk(piece))
                if not begun:
                    await self._write(TranscriptStart(language=language or None))
                await self._write(Transcript(pieces.text, language=language or None))
                await self._write(TranscriptStop())
            finally:
                self.busy, self._reader.most = False, HEADER_BYTES

    async def _chunks(
        self, first: AudioChunk | None, form: tuple[int, int, int]
    ) -> AsyncGenerator[AudioChunk, None]:
        """The audio of one stream, up to audio-stop."""
        if first is not None:
            check_same(first, form)
            yield first
        while (event := await self._reader.next()) is not None:
            if AudioStop.is_type(event.type):
                return
            if AudioChunk.is_type(event.type):
                chunk = parsed(AudioChunk, event)
                check_same(chunk, form)
                yield chunk
        # It has left before it had said all. Nothing is committed: whoever runs this is about to end it.
        await asyncio.get_running_loop().create_future()

    async def _write(self, what: Eventable) -> None:
        """
        Raises:
            TimeLimit: it is not read.
        """
        seconds = self._limits.unread_seconds
        try:
            async with asyncio.timeout(seconds):
                await async_write_event(what.event(), self._writer)
        except TimeoutError:
            self._writer.transport.abort()
            raise TimeLimit(f"results were not read for {seconds:g} s (limits.unread_seconds)") from None

    async def _end_with(self, text: str, code: str) -> None:
        """Say what was wrong, and let the client come to read it."""
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                await async_write_event(Error(text, code).event(), self._writer)
                self._writer.write_eof()
                while await self._reader.read(_LINGER_BYTES):
                    pass
        except (TimeoutError, ConnectionError, OSError):
            self._writer.transport.abort()


def _samples_of(chunk: AudioChunk) -> bytes:
    if chunk.width == _SAMPLE_BYTES:
        return chunk.audio
    converted: AudioChunk = AudioChunkConverter(width=_SAMPLE_BYTES).convert(chunk)
    return converted.audio


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{name} of the event transcribe must be text, not {value!r}")
    return value
