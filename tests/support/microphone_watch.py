"""What the microphone of a daemon tells, and speaking into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.dictation import Event, Final, State
from parakeetd.rpc.remote import RemoteMicrophone
from virtual_sound import VirtualSound

PATIENCE_SECONDS = 60.0
"""A test fails, rather than hangs, after this."""

TRIES = 4
"""A machine that stalls for seconds excuses a measurement, but not every time."""


@dataclass
class Watch:
    """All that is told, with the time at which it came."""

    microphone: RemoteMicrophone
    events: list[tuple[float, Event]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        async with aclosing(self.microphone.watch(levels=True)) as events:
            async for event in events:
                async with self._news:
                    self.events.append((time.monotonic(), event))
                    self._news.notify_all()

    async def until(self, wanted: Callable[[Event], bool], begin: int) -> float:
        """When the first such event came, of those from number `begin` on."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            while True:
                for moment, event in self.events[begin:]:
                    if wanted(event):
                        return moment
                await self._news.wait()

    async def phase(self, name: str, begin: int, **values: object) -> float:
        return await self.until(
            lambda event: (
                isinstance(event, State)
                and event.phase == name
                and all(getattr(event, key) == value for key, value in values.items())
            ),
            begin,
        )

    def text(self, begin: int) -> str:
        """The finals since then, joined as they are to be."""
        return "".join(event.added for _, event in self.events[begin:] if isinstance(event, Final)).strip()


@asynccontextmanager
async def watching(socket: str) -> AsyncIterator[Watch]:
    async with RemoteMicrophone(socket) as microphone:
        watch = Watch(microphone)
        reading = asyncio.create_task(watch.read())
        try:
            await watch.phase("idle", 0)
            yield watch
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


async def played(sound: VirtualSound, samples: Samples, microphone: str = "mic") -> None:
    """Speak, and wait until it has been said."""
    process = sound.play(samples, microphone)
    assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0


async def spoken(watch: Watch, sound: VirtualSound, samples: Samples, microphone: str = "mic") -> str:
    """What is recognised of this, in a session of its own."""
    begin = len(watch.events)
    await watch.microphone.start()
    await played(sound, np.concatenate([silence(0.3), samples, silence(0.3)]), microphone)
    await watch.microphone.stop()
    await watch.phase("idle", begin)
    return watch.text(begin)
