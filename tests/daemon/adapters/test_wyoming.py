"""The Wyoming adapter over a fake engine: what it answers, refuses and frees."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.tts import Synthesize

from parakeetd.adapters.wyoming_events import HEADER_BYTES
from parakeetd.entrance.limits import CallLimits
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import ServedModel, SessionSettings
from wire import silence, speech

# The fake engine answers each segment with its length in milliseconds.

START = AudioStart(16_000, 2, 1)
STOP = AudioStop()


class Client:
    """The protocol's own client, and what its connection carries."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def send(self, *events: Eventable) -> None:
        for event in events:
            await self._client.write_event(event.event())

    async def send_raw(self, data: bytes) -> None:
        writer = self._client._writer
        assert writer is not None
        writer.write(data)

    async def leave(self) -> None:
        """Without a word, as a process that is killed."""
        await self._client.disconnect()

    async def event(self) -> Event | None:
        async with asyncio.timeout(10):
            return await self._client.read_event()

    async def answer(self) -> Event:
        event = await self.event()
        assert event is not None, "the connection was closed"
        return event

    async def up_to(self, last: str) -> list[Event]:
        events = [await self.answer()]
        while events[-1].type != last:
            events.append(await self.answer())
        return events

    async def error(self) -> dict[str, Any]:
        """What the server says is wrong, after which it closes the connection."""
        event = (await self.up_to("error"))[-1]
        assert await self.event() is None
        return event.data


@asynccontextmanager
async def connected(uri: str) -> AsyncIterator[Client]:
    async with AsyncClient.from_uri(uri) as client:
        yield Client(client)


def chunks(data: bytes, chunk_bytes: int = 2048, width: int = 2) -> list[AudioChunk]:
    return [
        AudioChunk(16_000, width, 1, data[at : at + chunk_bytes]) for at in range(0, len(data), chunk_bytes)
    ]


async def test_each_utterance_is_a_piece_and_the_transcript_is_all_of_them(adapting: Any) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        audio = speech(1.0) + silence(2) + speech(1.5) + silence(2)
        await client.send(Transcribe(language="en"), START, *chunks(audio), STOP)
        events = await client.up_to("transcript-stop")
    kinds = ["transcript-start", "transcript-chunk", "transcript-chunk", "transcript", "transcript-stop"]
    assert [event.type for event in events] == kinds
    first, second = (event.data["text"] for event in events[1:3])
    assert second.startswith(" ")
    assert events[3].data == {"text": first + second, "language": "en"}


async def test_silence_has_an_empty_transcript(adapting: Any) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send(START, *chunks(silence(1)), STOP)
        events = await client.up_to("transcript-stop")
    assert [(event.type, event.data.get("text")) for event in events] == [
        ("transcript-start", None),
        ("transcript", ""),
        ("transcript-stop", None),
    ]


async def test_a_stream_may_begin_with_its_first_chunk(adapting: Any) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send(START, *chunks(speech(1)), STOP)
        told = (await client.up_to("transcript-stop"))[-2].data
        await client.send(*chunks(speech(1)), STOP)
        assert (await client.up_to("transcript-stop"))[-2].data == told


@pytest.mark.parametrize(("width", "kind"), [(1, np.uint8), (4, np.int32)])
async def test_samples_of_another_width_are_heard_as_those_of_two_bytes(
    adapting: Any, width: int, kind: type[Any]
) -> None:
    data = speech(1)
    samples = np.frombuffer(data, "<i2").astype(np.int32)
    # Eight bits are unsigned, as in WAV.
    other = (samples // 256 + 128).astype(kind) if width == 1 else (samples * 65536).astype(kind)
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send(START, *chunks(data), STOP)
        expected = (await client.up_to("transcript-stop"))[-2].data["text"]
        await client.send(*chunks(other.tobytes(), 4096, width), STOP)
        assert (await client.up_to("transcript-stop"))[-2].data["text"] == expected != ""


async def test_info_follows_the_models_that_serve(adapting: Any, served: Callable[..., ServedModel]) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send(Describe())
        [program] = (await client.answer()).data["asr"]
        assert [model["name"] for model in program["models"]] == ["fake"]
        await running.sessions.models.become((served(name="other", languages=("de-DE", "fr-FR")),))
        await client.send(Describe())
        [program] = (await client.answer()).data["asr"]
        assert [(model["name"], model["languages"]) for model in program["models"]] == [
            ("other", ["de-DE", "fr-FR"])
        ]


async def test_a_ping_is_answered_and_events_for_others_are_let_pass(adapting: Any) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send(Synthesize("hello"), Ping("are you there"))
        assert (await client.answer()).data == {"text": "are you there"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"POST /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n", "no event of the Wyoming protocol"),
        (b"[1, 2]\n \n", "no event of the Wyoming protocol"),
        (b'{"data": {}}\n', "no event of the Wyoming protocol"),
        (b'{"type": 7}\n', "no event of the Wyoming protocol"),
        (b'{"type": "ping", "data": [1]}\n', "no event of the Wyoming protocol"),
        (b"[" * 60_000 + b"\n ", "no event of the Wyoming protocol"),
        (b'{"type": "' + b"x" * HEADER_BYTES + b'"}\n', "the line of an event is longer"),
        (b'{"type": "audio-chunk", "payload_length": 9999999999}\n', "the most before audio-start is"),
        (b'{"type": "describe", "data_length": 9999999999}\n', "the most before audio-start is"),
        (b'{"type": "audio-start"}\n', "audio-start cannot be used"),
        (b'{"type": "transcribe", "data": {"language": 7}}\n{"type": "audio-chunk"}\n', "must be text"),
    ],
)
async def test_what_is_no_event_is_told_and_ends_the_connection(
    adapting: Any, line: bytes, told: str
) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send_raw(line)
        assert told in (await client.error())["text"]
        await running.sessions.until(lambda: not running.sessions.active)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([AudioStart(0, 2, 1)], "rate of the audio"),
        ([AudioStart(16_000, 5, 1)], "width of the audio must be 1, 2, 3 or 4"),
        ([AudioStart(16_000, 2, 99)], "99"),
        ([AudioStart(3, 2, 1)], "3 Hz"),
        ([START, AudioChunk(8_000, 2, 1, bytes(320))], "the stream began with (16000, 2, 1)"),
        ([START, AudioChunk(16_000, 2, 1, bytes(321))], "no whole number of samples"),
        ([START, STOP], "the audio is empty"),
    ],
)
async def test_audio_that_cannot_be_used_is_told_and_gives_its_place_back(
    adapting: Any, events: list[Eventable], told: str
) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send(*events)
        assert told in (await client.error())["text"]
        await running.sessions.until(lambda: not running.sessions.active)


async def test_a_chunk_above_the_limit_of_messages_is_refused(adapting: Any) -> None:
    async with (
        adapting(limits=CallLimits(max_message_mib=1)) as running,
        connected(running.wyoming) as client,
    ):
        await client.send(START, AudioChunk(16_000, 2, 1, bytes((1 << 20) + 2)))
        assert "the most, is 1048576" in (await client.error())["text"].replace("most is", "most, is")


async def test_a_client_that_leaves_frees_its_place_and_is_not_worked_for(adapting: Any) -> None:
    engine = FakeEngine()
    async with adapting(engine) as running:
        async with connected(running.wyoming) as client:
            await client.send(START, *chunks(speech(0.5)))
            await running.sessions.until(lambda: running.sessions.heard_samples >= 8000)
        await running.sessions.until(lambda: not running.sessions.active)
    assert engine.batches == []


async def test_a_client_that_leaves_while_its_text_is_computed_frees_its_place(adapting: Any) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    try:
        async with adapting(engine) as running:
            async with connected(running.wyoming) as client:
                await client.send(START, *chunks(speech(1)), STOP)
                await asyncio.to_thread(engine.begun.wait, 10)
                await client.leave()
                await running.sessions.until(lambda: not running.sessions.active)
            gate.set()
    finally:
        gate.set()


async def test_a_silent_client_is_told_so_and_ended(adapting: Any) -> None:
    impatient = SessionSettings(idle_seconds=0.2)
    async with adapting(settings=impatient) as running, connected(running.wyoming) as client:
        await client.send(START)
        error = await client.error()
    assert error["code"] == "IdleTimeout"
    assert "limits.idle_seconds" in error["text"]


async def test_a_stream_too_many_is_told_so(adapting: Any) -> None:
    async with (
        adapting(settings=SessionSettings(max_streams=1)) as running,
        connected(running.wyoming) as first,
        connected(running.wyoming) as second,
    ):
        await first.send(START)
        await running.sessions.until(lambda: running.sessions.active == 1)
        await second.send(START)
        assert (await second.error())["code"] == "Overloaded"
        await first.send(*chunks(speech(1)), STOP)
        await first.up_to("transcript-stop")


async def test_while_the_model_is_loaded_it_is_said_so(adapting: Any) -> None:
    async with adapting(models=()) as running, connected(running.wyoming) as client:
        await client.send(Describe())
        [program] = (await client.answer()).data["asr"]
        assert program["models"] == []
        await client.send(START)
        error = await client.error()
    assert error == {"text": "the daemon is loading its model; try again in a moment", "code": "Closed"}


async def test_a_drain_answers_what_came_and_then_says_that_it_ends(adapting: Any) -> None:
    async with adapting() as running, connected(running.wyoming) as client:
        await client.send(START, *chunks(speech(1)))
        await running.sessions.until(lambda: running.sessions.heard_samples >= 16_000)
        drained = asyncio.create_task(running.sessions.drain(0, 5))
        events = await client.up_to("error")
        assert [event.type for event in events] == ["transcript-start", "transcript-chunk", "error"]
        assert events[-1].data["code"] == "Closed"
        assert await drained


async def test_a_client_that_does_not_read_is_cut_off(adapting: Any) -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        while True:
            await async_write_event(Ping("x" * 60_000).event(), writer)

    async with adapting(limits=CallLimits(unread_seconds=0.2)) as running:
        _, writer = await asyncio.open_connection(*running.wyoming.removeprefix("tcp://").split(":"))
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flood(writer), 20)
        writer.transport.abort()


async def test_a_connection_too_many_is_closed(adapting: Any) -> None:
    async with adapting(limits=CallLimits(max_connections=1)) as running, connected(running.wyoming) as first:
        await first.send(Ping("first"))
        assert (await first.answer()).data == {"text": "first"}
        reader, writer = await asyncio.open_connection(*running.wyoming.removeprefix("tcp://").split(":"))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
