"""Streams of steady talk that go on while something happens to their server, with times on one clock."""

from __future__ import annotations

import asyncio
import time

from speech_load import pair
from steady_load import Talk, talk, talks


class Timed(Talk):
    """A stream that knows when it began and ended, on the clock."""

    begun = 0.0
    ended = 0.0

    def latencies(self) -> list[float]:
        """From the last sample of an utterance to its last final, seconds."""
        return [
            found[-1].received - self.begun - item.end
            for item, found in zip(self.track.spoken, pair(self.track.spoken, self.finals), strict=True)
            if found
        ]


async def stream(address: str, one: Timed, begin: float) -> None:
    """Stream it, and note when."""
    one.begun = begin
    await talk(address, one, begin)
    one.ended = time.monotonic()


class Load:
    """Streams that begin together and go on while something happens."""

    def __init__(self, address: str, count: int, seconds: float) -> None:
        self.streams = [Timed(one.track) for one in talks(count, seconds)]
        self._address = address
        begin = asyncio.get_running_loop().time() + 0.5
        # Spread over a second, as people are.
        self._tasks = (
            []
            if count == 1
            else [
                asyncio.create_task(stream(address, one, begin + number / count))
                for number, one in enumerate(self.streams)
            ]
        )

    async def ended(self) -> list[Timed]:
        """All of them, when they have."""
        await asyncio.gather(*self._tasks)
        return self.streams
