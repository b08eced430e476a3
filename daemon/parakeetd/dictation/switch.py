"""Dictation: the microphone on, the microphone off, and the sessions between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Final as Constant

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.level import level_of
from parakeetd.audio.sources.capture import Standing
from parakeetd.audio.sources.microphone import Gap, Listening, Microphone
from parakeetd.dictation.events import Event, Final, Interim, Loudness, State, state_of
from parakeetd.dictation.watchers import Watcher, Watchers
from parakeetd.errors import Closed, MicrophoneError, ParakeetError
from parakeetd.logs import stream_id
from parakeetd.session import Result, Sessions
from parakeetd.text import HouseStyle, Pen

_log = logging.getLogger(__name__)

START_SECONDS: Constant = 3.0
"""A microphone that has neither delivered nor failed by then is slow: the start is answered, and it is waited for."""

LEVEL_SAMPLES: Constant = SAMPLE_RATE // 10
"""Audio of one level that is told."""


@dataclass(eq=False)
class _Session:
    """From a start to the last final after its stop."""

    number: int
    pen: Pen
    before: asyncio.Task[None] | None
    """The session before, whose finals come first."""
    standing: Standing = field(default_factory=Standing)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the microphone has delivered, or there is none."""
    stopping: bool = False
    finals: int = 0
    """Told so far."""
    samples: int = 0
    """Recorded so far."""
    interim: str = ""
    loud: list[Samples] = field(default_factory=list)
    """Not yet measured."""
    listening: Listening | None = None
    task: asyncio.Task[None] | None = None

    async def its_turn(self) -> None:
        """Wait until all finals of the session before have been told."""
        if self.before is not None:
            await asyncio.wait({self.before})
            self.before = None


class Microphones:
    """Those that were asked for, the usual one first."""

    def __init__(self, make: Callable[[str], Microphone], device: str = "") -> None:
        """
        Args:
            device: the usual one, as in `capture.chosen`.
        """
        self._make = make
        self._device = device
        self._usual = make(device)
        self._others: dict[str, Microphone] = {}

    def named(self, device: str = "") -> Microphone:
        """The microphone of this name; the usual one for none."""
        if not device or device == self._device:
            return self._usual
        # One that nobody listens to holds nothing open; a single other one is kept, for the next time.
        if device not in self._others:
            self._others = {
                name: other for name, other in self._others.items() if other.standing.phase != "off"
            }
            self._others[device] = self._make(device)
        return self._others[device]

    def all(self) -> tuple[Microphone, ...]:
        return (self._usual, *self._others.values())


class Dictation:
    """Belongs to one event loop. There is one session at a time; it has one microphone and any number of watchers."""

    def __init__(self, sessions: Sessions, microphones: Microphones, house: HouseStyle) -> None:
        self._sessions = sessions
        self._microphones = microphones
        self.house = house
        """How the text of new sessions is written."""
        self._watchers = Watchers()
        self._number = 0
        self._current: _Session | None = None
        self._finishing: set[_Session] = set()
        """Sessions that have a task."""
        self._state = State()
        self._closed = False

    @property
    def state(self) -> State:
        return self._state

    def watch(self) -> AbstractContextManager[Watcher]:
        """Watch within a block: the state as it is, then everything that happens.

        Raises:
            Overloaded: there are too many watchers.
        """
        now: list[Event] = [self._state]
        if self._current is not None and self._current.interim:
            now.append(Interim(self._current.number, self._current.interim))
        return self._watchers.watch(*now)

    def keep_ready(self) -> None:
        """Keep the usual microphone open, if it has a ring."""
        self._microphones.named().keep_open()

    async def start(self, device: str = "") -> State:
        """Open the microphone, and recognise what is said from now on. Where it is open already, nothing happens.

        Args:
            device: as in `capture.chosen`; empty for the usual one.

        Raises:
            MicrophoneError: there is no such microphone, or it delivers nothing; Closed: the daemon loads or ends.
        """
        session = self._current
        begun = session is None or session.stopping
        if session is None or begun:
            session = self._begin(device)
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await session.settled.wait()
        if begun and session.standing.absent and session.task is not None:
            # Later a microphone is waited for. Who has just pressed the key is to know that there is none.
            session.task.cancel()
            await asyncio.wait({session.task})
            raise MicrophoneError(session.standing.problem)
        return self._state

    async def stop(self) -> State:
        """Close the microphone; answers when what was said has been told."""
        session = self._current
        if session is None or session.task is None:
            return self._state
        if not session.stopping and session.listening is not None:
            session.stopping = True
            session.listening.stop()
            self._say_state()
        await asyncio.wait({session.task})
        return self._state

    async def toggle(self, device: str = "") -> State:
        """Start, or stop what has been started."""
        running = self._current is not None and not self._current.stopping
        return await (self.stop() if running else self.start(device))

    async def cancel(self) -> State:
        """Close the microphone and forget what has not been told yet."""
        sessions = list(self._finishing)
        tasks = {session.task for session in sessions if session.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        return self._state

    def sleep(self) -> None:
        """Close the microphone until `wake`: the machine is about to sleep. What was said before is told."""
        for microphone in self._microphones.all():
            microphone.sleep()

    def wake(self) -> None:
        """Open the microphone again, if there is a session."""
        for microphone in self._microphones.all():
            microphone.wake()

    async def close(self, seconds: float) -> None:
        """Stop, tell what was said if it takes no longer than this, and end all watching."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop()
        await self.cancel()
        self._watchers.end()
        for microphone in self._microphones.all():
            await microphone.close()

    def _begin(self, device: str) -> _Session:
        if self._closed or self._sessions.draining:
            raise Closed("the daemon is shutting down and takes no dictation")
        model = self._sessions.models.named("")
        style = self.house.style_for(
            punctuation=True, profanity_filter=False, commands=None, language="", spoken=model.languages
        )
        latest = max(self._finishing, key=lambda other: other.number, default=None)
        before = None if latest is None else latest.task
        self._number += 1
        session = self._current = _Session(self._number, Pen(style), before)
        session.listening = self._microphones.named(device).listen(
            lambda standing: self._heard_of(session, standing),
            lambda samples: self._measure(session, samples),
        )
        session.task = asyncio.create_task(self._run(session, session.listening))
        self._finishing.add(session)
        return session

    async def _run(self, session: _Session, listening: Listening) -> None:
        problem, ended = "", "cancelled"
        with stream_id():
            try:
                problem = await self._listen(session, listening)
                ended = "broken off" if problem else "ended"
                listening.close()
                if session.before is not None:
                    # Whoever stops this session, or starts the next one, counts on all text before it.
                    session.stopping = True
                    self._say_state()
                    await session.its_turn()
            finally:
                listening.close()
                self._finishing.discard(session)
                self._withdraw(session)
                seconds = session.samples / SAMPLE_RATE
                source = session.standing.source
                device = source.name if source else "no microphone"
                _log.info(
                    "dictation from %s: %s after %.1f s of audio, finals: %d",
                    device,
                    ended,
                    seconds,
                    session.finals,
                )
                if self._current is session:
                    self._current = None
                    self._say(replace(self._state, phase="idle", problem=problem))

    async def _listen(self, session: _Session, listening: Listening) -> str:
        """Recognise all that is said; why it ended early, for people, or nothing."""
        try:
            async for item in listening:
                # A gap ends what was said before it: what follows is not its continuation.
                if not isinstance(item, Gap):
                    await self._recognise(session, item, listening)
        except ParakeetError as error:
            _log.warning("dictation ends: %s", error)
            return str(error)
        except Exception:
            _log.exception("dictation ends")
            return "an unexpected error in the daemon; its log has the details"
        return ""

    async def _recognise(self, session: _Session, first: Samples, listening: Listening) -> None:
        """Recognise audio up to the next gap, or to the end."""
        offset = session.samples / SAMPLE_RATE
        async with (
            aclosing(_until_gap(session, first, listening)) as chunks,
            aclosing(self._sessions.stream(chunks, interim=True)) as results,
        ):
            async for result in results:
                await session.its_turn()
                self._tell(session, result, offset)
        self._withdraw(session)

    def _tell(self, session: _Session, result: Result, offset: float) -> None:
        text = session.pen.write(result.transcript, final=result.is_final).text
        if not result.is_final:
            session.interim = text.strip()
            self._watchers.tell(Interim(session.number, session.interim, result.stability))
            return
        session.interim = ""
        # With commands the pen puts the space that is due.
        added = text if session.pen.spaces or not session.finals else f" {text}"
        session.finals += 1
        start, end = offset + result.start, offset + result.end
        self._watchers.tell(Final(session.number, text.strip(" "), added, start, end))

    def _withdraw(self, session: _Session) -> None:
        if session.interim:
            session.interim = ""
            self._watchers.tell(Interim(session.number, ""))

    def _heard_of(self, session: _Session, standing: Standing) -> None:
        session.standing = standing
        if standing.phase == "live" or standing.absent:
            session.settled.set()
        if session is self._current:
            self._say_state()

    def _measure(self, session: _Session, samples: Samples) -> None:
        session.loud.append(samples)
        if sum(map(len, session.loud)) >= LEVEL_SAMPLES:
            if self._watchers and not session.stopping:
                self._watchers.tell(Loudness(level_of(np.concatenate(session.loud))))
            session.loud.clear()

    def _say_state(self) -> None:
        if (session := self._current) is not None:
            self._say(state_of(session.standing, session.number, stopping=session.stopping))

    def _say(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._watchers.tell(state)


async def _until_gap(
    session: _Session, first: Samples, listening: Listening
) -> AsyncGenerator[Samples, None]:
    """Audio without a hole."""
    item: Samples | Gap = first
    while not isinstance(item, Gap):
        session.samples += len(item)
        yield item
        try:
            item = await anext(listening)
        except StopAsyncIteration:
            return
