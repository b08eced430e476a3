"""The OpenAI adapter over a fake engine: what it answers, refuses and frees."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest

from openai_calls import TALK, client_of, form, wav
from parakeetd.audio import Samples
from parakeetd.entrance.limits import CallLimits
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import SessionSettings
from parakeetd.text import HouseStyle, read_tables
from wire import silence, speech

# The fake engine answers each segment with its length in milliseconds.

BOUNDARY = "the-boundary"


def events_in(body: str) -> list[dict[str, Any]]:
    """Of server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line]


async def test_a_recording_has_the_same_text_in_every_form(adapting: Any) -> None:
    async with adapting() as running, client_of(running.openai) as client:
        text = json.loads(await client.text(TALK))["text"]
        first, second = text.split(" ")
        assert await client.text(TALK, ("response_format", "text")) == f"{text}\n"
        verbose = json.loads(await client.text(TALK, ("response_format", "verbose_json")))
        assert verbose["text"] == text
        assert [segment["text"] for segment in verbose["segments"]] == [first, second]
        assert verbose["language"] == "en-US"
        assert verbose["duration"] == pytest.approx(6.5, abs=0.001)
        assert "words" not in verbose
        for name in ("srt", "vtt"):
            subtitles = await client.text(TALK, ("response_format", name))
            assert [line for line in subtitles.splitlines() if line in (first, second)] == [first, second]
        *deltas, done = events_in(await client.text(TALK, ("stream", "true")))
        assert [delta["delta"] for delta in deltas] == [first, f" {second}"]
        assert done == {"type": "transcript.text.done", "text": text}


async def test_granularities_choose_between_words_and_segments(adapting: Any) -> None:
    verbose = ("response_format", "verbose_json")
    async with adapting() as running, client_of(running.openai) as client:
        for asked, told in (
            (["word"], {"words"}),
            (["segment"], {"segments"}),
            (["word", "segment"], {"words", "segments"}),
        ):
            fields = [("timestamp_granularities[]", name) for name in asked]
            answer = json.loads(await client.text(TALK, verbose, *fields))
            assert {"words", "segments"} & set(answer) == told


async def test_the_language_and_the_keywords_reach_the_decoding(adapting: Any) -> None:
    engine = FakeEngine()
    async with adapting(engine) as running, client_of(running.openai) as client:
        await client.text(TALK, ("language", "de"), ("keywords[]", "Parakeet"), ("keywords[]", "Zurich"))
    assert {options.language for options in engine.options} == {"de"}
    assert {boost.phrase for options in engine.options for boost in options.boosts} == {"Parakeet", "Zurich"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            [("response_format", "diarized_json")],
            "response_format must be one of json, text, srt, vtt, verbose_json",
        ),
        ([("stream", "maybe")], "stream must be one of true, false"),
        ([("stream", "true"), ("response_format", "srt")], "stream=true needs response_format json or text"),
        (
            [("timestamp_granularities[]", "word")],
            "timestamp_granularities needs response_format verbose_json",
        ),
        (
            [("timestamp_granularities[]", "letter"), ("response_format", "verbose_json")],
            "timestamp_granularities must be one of word, segment",
        ),
        ([("keywords[]", "x" * 101)], "101 characters"),
        ([("model", "x" * 70_000)], "the field 'model' is longer than 65536 bytes"),
    ],
)
async def test_an_option_that_cannot_be_met_is_named(
    adapting: Any, fields: list[tuple[str, str]], told: str
) -> None:
    async with adapting() as running, client_of(running.openai) as client:
        status, error = await client.refusal(form(TALK, *fields))
    assert status in (400, 413)
    assert told in error["message"]
    assert error["type"] == "invalid_request_error"


def parts(*headers: str) -> dict[str, Any]:
    """A body of parts with these headers and the content `x`."""
    body = "".join(f"--{BOUNDARY}\r\n{header}\r\n\r\nx\r\n" for header in headers) + f"--{BOUNDARY}--\r\n"
    return {"data": body.encode(), "headers": {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}}


NAMED = 'Content-Disposition: form-data; name="{}"'


@pytest.mark.parametrize(
    ("request_made", "told"),
    [
        ({"data": {"model": "x"}}, "must be multipart/form-data, not application/x-www-form-urlencoded"),
        ({"data": b"", "headers": {"Content-Type": "multipart/form-data"}}, "cannot be read"),
        (parts(NAMED.format("model")), "the form has no file"),
        (parts(NAMED.format("file"), NAMED.format("file")), "more than one file"),
        (parts("Content-Type: text/plain"), "a part without a name"),
        (parts("Content-Type: multipart/mixed; boundary=inner"), "a part without a name"),
        (parts(*[NAMED.format("x")] * 1001), "more than 1000 parts"),
        ({"data": b"--the-boundary\r\nx", "headers": parts()["headers"]}, "cannot be read"),
        (parts(NAMED.format("file")), "no audio file that is known"),
    ],
)
async def test_a_form_that_cannot_be_used_is_answered_with_the_reason(
    adapting: Any, request_made: dict[str, Any], told: str
) -> None:
    async with adapting() as running, client_of(running.openai) as client:
        status, error = await client.refusal(**request_made)
        assert (status, error["type"]) == (400, "invalid_request_error")
        assert told in error["message"]
        await running.sessions.until(lambda: not running.sessions.active)


@pytest.mark.parametrize("declared", [True, False])
async def test_an_upload_above_the_limit_is_refused_whether_its_length_is_declared_or_not(
    adapting: Any, declared: bool
) -> None:
    async def pieces(data: bytes) -> AsyncIterator[bytes]:
        yield data

    limits = CallLimits(max_message_mib=1)
    async with adapting(limits=limits) as running, client_of(running.openai) as client:
        made = parts(NAMED.format("file"))
        data = made["data"].replace(b"x\r\n", bytes((1 << 20) + 1) + b"\r\n")
        status, error = await client.refusal(
            io.BytesIO(data) if declared else pieces(data), headers=made["headers"]
        )
        assert status == 413
        assert "1 MiB (limits.max_message_mib)" in error["message"]
        await running.sessions.until(lambda: not running.sessions.active)


async def test_an_upload_that_does_not_arrive_is_not_waited_for(adapting: Any) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield f"--{BOUNDARY}\r\n".encode()
        await asyncio.sleep(20)

    limits = CallLimits(upload_seconds=0.2)
    async with adapting(limits=limits) as running, client_of(running.openai) as client:
        status, error = await client.refusal(stalling(), headers=parts()["headers"])
    assert status == 408
    assert "limits.upload_seconds" in error["message"]


async def test_a_recording_too_many_is_refused_before_it_is_read(adapting: Any) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    try:
        async with (
            adapting(engine, settings=SessionSettings(max_streams=1)) as running,
            client_of(running.openai) as client,
        ):
            first = asyncio.create_task(client.text(TALK))
            await running.sessions.until(lambda: running.sessions.active == 1)
            status, error = await client.refusal(b"this is no form")
            assert (status, error["code"]) == (429, "overloaded")
            assert "limits.max_streams" in error["message"]
            gate.set()
            await first
    finally:
        gate.set()


async def test_a_client_that_leaves_frees_its_place(adapting: Any) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    try:
        async with adapting(engine) as running:
            async with client_of(running.openai) as client:
                asked = asyncio.create_task(client.text(TALK))
                await asyncio.to_thread(engine.begun.wait, 10)
                asked.cancel()
                await running.sessions.until(lambda: not running.sessions.active)
            gate.set()
    finally:
        gate.set()


class Talkative(FakeEngine):
    """Says more than sockets hold."""

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        text = "x" * (32 << 20)
        return [Transcript(text, (Word(text, 0.0, 0.1, 1.0),), (), 1.0) for _ in audio]


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_a_client_that_does_not_read_is_cut_off(adapting: Any, stream: str) -> None:
    limits = CallLimits(unread_seconds=0.2)
    async with adapting(Talkative(), limits=limits) as running, client_of(running.openai) as client:
        audio = wav(speech(1) + silence(2))
        async with client.post(form(audio, ("stream", stream))) as answer:
            # The status is read, the rest is not.
            await running.sessions.until(lambda: not running.sessions.active)
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


async def test_what_goes_wrong_in_the_middle_of_a_streamed_answer_is_its_last_event(adapting: Any) -> None:
    audio = wav((speech(1) + silence(2)) * 3)
    settings = SessionSettings(max_recording_seconds=4)
    async with adapting(settings=settings) as running, client_of(running.openai) as client:
        delta, last = events_in(await client.text(audio, ("stream", "true")))
        assert delta["type"] == "transcript.text.delta"
        assert "limits.max_recording_seconds" in last["error"]["message"]
        # As a whole it is refused.
        status, error = await client.refusal(form(audio))
        assert (status, error["code"]) == (413, "too_long")


class Speaker(FakeEngine):
    """Says these, one after the other."""

    def __init__(self, *said: str) -> None:
        super().__init__()
        self._said = list(said)

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        return [self._next() for _ in audio]

    def _next(self) -> Transcript:
        text = self._said.pop(0)
        words = tuple(Word(word, i / 10, (i + 1) / 10, 1.0) for i, word in enumerate(text.split()))
        return Transcript(text, words, (), 1.0)


async def test_what_a_spoken_command_takes_back_is_not_in_the_text(adapting: Any) -> None:
    audio = wav((speech(1) + silence(2)) * 3)
    engine = Speaker("hello", "scratch that", "goodbye")
    async with adapting(engine, commands=True) as running, client_of(running.openai) as client:
        *deltas, done = events_in(await client.text(audio, ("stream", "true")))
    assert done["text"].strip().lower() == "goodbye"
    assert "\b" in "".join(delta["delta"] for delta in deltas)


async def test_after_a_reload_text_is_written_in_the_new_style(adapting: Any) -> None:
    audio = wav(speech(1) + silence(2))
    engine = Speaker("hello comma", "hello comma")
    async with adapting(engine) as running, client_of(running.openai) as client:
        assert json.loads(await client.text(audio))["text"] == "hello comma"
        running.adapters.use_house(HouseStyle(read_tables(), commands=True))
        assert json.loads(await client.text(audio))["text"] == "hello,"


async def test_while_the_model_is_loaded_and_while_the_daemon_ends_it_is_said_so(adapting: Any) -> None:
    async with adapting(models=()) as running, client_of(running.openai) as client:
        for path in ("models", "models/demo"):
            async with client.session.get(f"{running.openai}/{path}") as answer:
                assert answer.status == 503
                assert "loading" in (await answer.json())["error"]["message"]
        status, error = await client.refusal(form(TALK))
        assert (status, error["type"]) == (503, "server_error")
        await running.sessions.drain(0, 0)
        status, error = await client.refusal(form(TALK))
        assert status == 503
        assert "shutting down" in error["message"]


async def test_a_recording_that_is_being_recognised_at_a_drain_is_answered(adapting: Any) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    try:
        async with adapting(engine) as running, client_of(running.openai) as client:
            asked = asyncio.create_task(client.text(TALK))
            await asyncio.to_thread(engine.begun.wait, 10)
            drained = asyncio.create_task(running.sessions.drain(10, 10))
            await running.sessions.until(lambda: running.sessions.draining)
            gate.set()
            assert json.loads(await asked)["text"]
            assert await drained
    finally:
        gate.set()
