"""Tells any number of watchers what happens, and waits for none of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final as Constant

from parakeetd.dictation.events import Event, Final, Interim, Loudness
from parakeetd.errors import Overloaded

MAX_WATCHERS: Constant = 64

MAX_UNREAD: Constant = 256
"""States and finals that wait for a watcher. One that leaves more unread is ended, not left with holes in its text."""


class Watcher:
    """One who watches: iterate it. Levels and interims that were not read in time give way to newer ones."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self._ended = False
        self._problem = ""

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """
        Raises:
            Overloaded: too much was left unread.
        """
        while not self._events:
            if self._problem:
                raise Overloaded(self._problem)
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()

    def tell(self, event: Event) -> None:
        if self._problem or self._ended:
            return
        match event:
            case Loudness():
                self._drop(Loudness)
            case Interim() | Final():
                self._drop(Interim)
        if len(self._events) >= MAX_UNREAD:
            self._problem = f"{MAX_UNREAD} events were left unread; watch again, and read faster"
            self._events.clear()
        else:
            self._events.append(event)
        self._news.set()

    def end(self) -> None:
        """There will be no more. What has been told can still be read."""
        self._ended = True
        self._news.set()

    def _drop(self, kind: type[Loudness] | type[Interim]) -> None:
        stale = next((event for event in self._events if isinstance(event, kind)), None)
        if stale is not None:
            self._events.remove(stale)


class Watchers:
    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._ended = False

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    def tell(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.tell(event)

    @contextmanager
    def watch(self, *first: Event) -> Iterator[Watcher]:
        """Watch within the block, beginning with these events.

        Raises:
            Overloaded: there are too many watchers.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise Overloaded(f"{MAX_WATCHERS} watch the microphone, which is the limit; try again later")
        watcher = Watcher()
        for event in first:
            watcher.tell(event)
        if self._ended:
            watcher.end()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def end(self) -> None:
        """Nothing more will happen."""
        self._ended = True
        for watcher in self._watchers:
            watcher.end()
