"""A sound server without sound: a test says what it has, and what its recorders deliver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import numpy as np

from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.capture import Listing, Source

MIC = Source("mic", "Desk Microphone")
HEADSET = Source("headset", "Wireless Headset")
MONITOR = Source("speaker.monitor", "Monitor of Speaker", monitor=True)


@dataclass
class FakeRecorder:
    source: str
    pieces: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    closed: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _taken: bool = False

    async def read(self) -> bytes:
        if self._taken:
            # Who reads again has dealt with what came before.
            self.pieces.task_done()
        self._taken = True
        return await self.pieces.get()

    async def heard(self) -> None:
        """Wait until all that was said has been taken in."""
        await self.pieces.join()

    async def reason(self) -> str:
        return "Stream error: Connection terminated"

    async def close(self) -> None:
        self.closed = True
        self.gone.set()

    def say(self, seconds: float, value: int = 8000) -> None:
        """Deliver a constant: what it holds does not matter, only how long it is, and that it is not silence."""
        self.pieces.put_nowait(np.full(round(seconds * SAMPLE_RATE), value, "<i2").tobytes())

    def end(self) -> None:
        self.pieces.put_nowait(b"")


class FakeSoundServer:
    """Has one microphone, the default."""

    def __init__(self, *sources: Source, default: str = "mic") -> None:
        self.listing: Listing | str = Listing(sources or (MONITOR, MIC), default)
        self.recorders: list[FakeRecorder] = []
        self.looks = 0
        self._changes: asyncio.Queue[None] = asyncio.Queue()
        self._begun = asyncio.Condition()

    async def look(self, mark: str) -> Listing | str:
        self.looks += 1
        if isinstance(self.listing, str):
            return self.listing
        recorded = self.recorders[-1].source or self.listing.default if self.recorders else ""
        return replace(self.listing, recorded=recorded)

    async def changes(self) -> AsyncIterator[None]:
        while True:
            await self._changes.get()
            yield

    async def record(self, source: str, mark: str) -> FakeRecorder:
        async with self._begun:
            self.recorders.append(FakeRecorder(source))
            self._begun.notify_all()
        return self.recorders[-1]

    def change(self, *sources: Source, default: str) -> None:
        """Other sources, or another default; whoever watches is told."""
        self.listing = Listing(sources, default)
        self._changes.put_nowait(None)

    async def recorder(self, number: int = 0) -> FakeRecorder:
        """The recorder of this number, once it has been started."""
        async with asyncio.timeout(20), self._begun:
            await self._begun.wait_for(lambda: len(self.recorders) > number)
        return self.recorders[number]
