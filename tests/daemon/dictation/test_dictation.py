"""Sessions of the microphone over a sound server without sound and an engine without a model.

The engine answers each segment with its length."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest

from fake_sound import HEADSET, MIC, MONITOR, FakeSoundServer
from parakeetd.audio.sources.microphone import Microphone
from parakeetd.dictation import Dictation, Event, Final, Interim, Loudness, Microphones, State, Watcher
from parakeetd.errors import Closed, MicrophoneError
from parakeetd.logs import StreamNoted
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import Result, ServedModel, Sessions, SessionSettings
from parakeetd.text import HouseStyle, read_tables
from parakeetd.vad import Segmentation

WAIT_SECONDS = 20.0

WHOLE = Segmentation(trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=20_000)


@dataclass
class Room:
    dictation: Dictation
    sessions: Sessions
    sound: FakeSoundServer


@asynccontextmanager
async def room(
    engine: FakeEngine | None = None,
    sound: FakeSoundServer | None = None,
    kind: type[Sessions] = Sessions,
) -> AsyncIterator[Room]:
    engine, server = engine or FakeEngine(), sound or FakeSoundServer()
    router = Router({"cpu": lambda: engine}, max_queued=64)
    # Without detection: a segment is all that is recorded between a start, gaps and the stop.
    sessions = kind(
        (ServedModel("fake", ("en-US",), router),), SessionSettings(detector="off", segmentation=WHOLE)
    )
    microphones = Microphones(lambda device: Microphone(server, device))
    dictation = Dictation(sessions, microphones, HouseStyle(read_tables()))
    try:
        yield Room(dictation, sessions, server)
    finally:
        if engine.gate is not None:
            engine.gate.set()
        await dictation.close(1.0)
        await asyncio.to_thread(router.close, WAIT_SECONDS)


async def until(watcher: Watcher, wanted: Callable[[Event], bool]) -> list[Event]:
    """Events up to the first that is wanted."""
    seen: list[Event] = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for event in watcher:
            seen.append(event)
            if wanted(event):
                return seen
    raise AssertionError(f"the watch ended; it saw {seen}")


def phase(name: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, State) and event.phase == name


def finals(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


async def started(
    place: Room, recorder: int = 0, seconds: float = 1.0, device: str = "", *, silent: bool = False
) -> None:
    """Start, and speak for so long, or be silent."""
    start = asyncio.create_task(place.dictation.start(device))
    (await place.sound.recorder(recorder)).say(seconds, 0 if silent else 8000)
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await start).phase == "listening"


async def test_what_is_said_between_start_and_stop_is_told() -> None:
    async with room() as place:
        with place.dictation.watch() as watcher:
            await started(place, seconds=1.5)
            state = await place.dictation.stop()
            events = await until(watcher, lambda event: event == state)
        states = [event.phase for event in events if isinstance(event, State)]
    assert [name for name, _ in groupby(states)] == ["idle", "starting", "listening", "finishing", "idle"]
    assert finals(events) == ["1500ms"]
    assert any(isinstance(event, Loudness) for event in events)
    assert (state.device, state.title, state.session) == ("mic", "Desk Microphone", 1)


async def test_a_second_start_and_a_second_stop_change_nothing() -> None:
    async with room() as place:
        await started(place)
        assert (await place.dictation.start()).session == 1
        assert (await place.dictation.stop()).phase == "idle"
        assert (await place.dictation.stop()).phase == "idle"
        assert len(place.sound.recorders) == 1


async def test_toggle_starts_and_stops() -> None:
    async with room() as place:
        toggled = asyncio.create_task(place.dictation.toggle())
        (await place.sound.recorder()).say(1.0)
        assert (await toggled).phase == "listening"
        assert (await place.dictation.toggle()).phase == "idle"


async def test_a_start_while_the_last_words_are_recognised_records_at_once_and_its_text_comes_after() -> None:
    gate = threading.Event()
    async with room(FakeEngine(gate=gate)) as place:
        with place.dictation.watch() as watcher:
            await started(place, 0, 1.0)
            first = asyncio.create_task(place.dictation.stop())
            await until(watcher, phase("finishing"))
            await place.sound.recorders[0].gone.wait()
            await started(place, 1, 2.0)
            second = asyncio.create_task(place.dictation.stop())
            gate.set()
            await first
            await second
            events = await until(watcher, phase("idle"))
    assert finals(events) == ["1000ms", "2000ms"]
    assert [event.session for event in events if isinstance(event, Final)] == [1, 2]


class SlowFirst(Sessions):
    """Answers the first stream only when told, later ones at once."""

    def __init__(self, models: tuple[ServedModel, ...], settings: SessionSettings) -> None:
        super().__init__(models, settings)
        self.go = asyncio.Event()
        self.streams = 0

    async def stream(self, *arguments: Any, **options: Any) -> AsyncGenerator[Result, None]:
        self.streams += 1
        first = self.streams == 1
        async with aclosing(super().stream(*arguments, **options)) as results:
            async for result in results:
                if first and result.is_final:
                    await self.go.wait()
                yield result


@pytest.mark.parametrize("said", [True, False], ids=["with words", "without a word"])
async def test_a_session_never_ends_before_the_one_before_has_been_told(said: bool) -> None:
    async with room(kind=SlowFirst) as place:
        sessions = place.sessions
        assert isinstance(sessions, SlowFirst)
        with place.dictation.watch() as watcher:
            await started(place, 0, 1.0)
            first = asyncio.create_task(place.dictation.stop())
            await until(watcher, phase("finishing"))
            await place.sound.recorders[0].gone.wait()
            await started(place, 1, 2.0, silent=not said)
            second = asyncio.create_task(place.dictation.stop())
            await until(watcher, phase("finishing"))
            # The second has all its audio, and would be told if it did not wait.
            await asyncio.wait({second}, timeout=0.5)
            assert not second.done()
            sessions.go.set()
            await first
            await second
            events = await until(watcher, phase("idle"))
    assert finals(events) == (["1000ms", "2000ms"] if said else ["1000ms"])


async def test_a_cancel_tells_nothing_more_and_withdraws_what_was_shown() -> None:
    async with room() as place:
        with place.dictation.watch() as watcher:
            await started(place, seconds=1.0)
            seen = await until(watcher, lambda event: isinstance(event, Interim))
            assert (await place.dictation.cancel()).phase == "idle"
            events = seen + await until(watcher, phase("idle"))
    assert finals(events) == []
    assert [event.text for event in events if isinstance(event, Interim)][-1] == ""


async def test_an_unplugged_microphone_ends_the_utterance_and_the_session_goes_on_with_the_next() -> None:
    async with room() as place:
        with place.dictation.watch() as watcher:
            await started(place, 0, 1.0)
            place.sound.change(MONITOR, default="speaker.monitor")
            events = await until(watcher, lambda event: isinstance(event, Final))
            assert [event.problem for event in events if phase("interrupted")(event)] == [  # type: ignore[union-attr]
                "no microphone is plugged in"
            ]
            place.sound.change(MONITOR, HEADSET, default="headset")
            (await place.sound.recorder(1)).say(0.5)
            await until(watcher, phase("listening"))
            await place.dictation.stop()
            after = await until(watcher, phase("idle"))
    assert finals(events) == ["1000ms"]
    (last,) = [event for event in after if isinstance(event, Final)]
    assert (last.text, last.added, last.start) == ("500ms", " 500ms", 1.0)


async def test_a_start_without_a_microphone_fails_and_says_why() -> None:
    async with room(sound=FakeSoundServer(MONITOR, default="speaker.monitor")) as place:
        with pytest.raises(MicrophoneError, match="no microphone is plugged in"):
            await place.dictation.start()
        assert place.dictation.state.phase == "idle"


async def test_another_microphone_can_be_asked_for_by_a_part_of_its_name() -> None:
    async with room(sound=FakeSoundServer(MIC, HEADSET)) as place:
        await started(place, device="wireless")
        assert place.dictation.state.device == "headset"


async def test_recognition_that_fails_ends_the_session_and_says_why() -> None:
    async with room(FakeEngine(failures=100)) as place:
        with place.dictation.watch() as watcher:
            await started(place)
            await place.dictation.stop()
            await until(watcher, phase("finishing"))
            (*_, ended) = await until(watcher, phase("idle"))
    assert isinstance(ended, State)
    assert "cpu" in ended.problem


async def test_a_closed_dictation_tells_its_last_words_ends_all_watches_and_takes_no_start() -> None:
    async with room() as place:
        with place.dictation.watch() as watcher:
            await started(place)
            await place.dictation.close(WAIT_SECONDS)
            async with asyncio.timeout(WAIT_SECONDS):
                events = [event async for event in watcher]
            with pytest.raises(Closed):
                await place.dictation.start()
    assert finals(events) == ["1000ms"]
    assert all(recorder.closed for recorder in place.sound.recorders)


async def test_a_watcher_that_comes_late_sees_how_it_stands() -> None:
    async with room() as place:
        with place.dictation.watch() as first:
            await started(place)
            await until(first, lambda event: isinstance(event, Interim))
        with place.dictation.watch() as late:
            state, interim = await anext(late), await anext(late)
    assert isinstance(state, State)
    assert state.phase == "listening"
    assert isinstance(interim, Interim)
    assert interim.text


async def test_each_session_has_a_name_in_the_log_and_a_line_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.addFilter(StreamNoted())
    with caplog.at_level(logging.INFO, "parakeetd.dictation.switch"):
        async with room() as place:
            await started(place, seconds=1.5)
            await place.dictation.stop()
            await started(place, 1)
            await place.dictation.cancel()
    first, second = ((record.getMessage(), vars(record)["stream"]) for record in caplog.records)
    assert first[0] == "dictation from mic: ended after 1.5 s of audio, finals: 1"
    assert second[0] == "dictation from mic: cancelled after 1.0 s of audio, finals: 0"
    assert re.fullmatch("[0-9a-f]{8}", first[1])
    assert re.fullmatch("[0-9a-f]{8}", second[1])
    assert first[1] != second[1]
