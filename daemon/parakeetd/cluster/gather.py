"""Messages of a stream that travel together from a proxy to a replica, for each journey costs a millisecond or two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

APART_SECONDS: Final = 0.06
"""Between two journeys. Clients that send every 100 ms are not held up; of those that send every 20 ms three messages
go together."""

ENOUGH_BYTES: Final = 64 << 10
"""Goes at once, and no more is read before it has gone: clients that send a file as fast as they can."""


class Gathered:
    """The messages of a stream in groups: whoever asks gets those that are there."""

    def __init__(self, requests: AsyncIterator[bytes]) -> None:
        self._held: list[bytes] = []
        self._bytes = 0
        self._some, self._enough, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        self._next_at = 0.0
        self._reading = asyncio.create_task(self._read(requests))

    def __aiter__(self) -> Gathered:
        return self

    async def __anext__(self) -> list[bytes]:
        await self._some.wait()
        clock = asyncio.get_running_loop()
        if (early := self._next_at - clock.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), early)
        held, self._held, self._bytes = self._held, [], 0
        if held:
            self._next_at = clock.time() + APART_SECONDS
            if not self._ended:
                self._some.clear()
                self._enough.clear()
            self._room.set()
            return held
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def close(self) -> None:
        """The stream has ended: nobody asks any more."""
        self._reading.cancel()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        try:
            async for request in requests:
                self._held.append(request)
                self._bytes += len(request)
                self._some.set()
                if self._bytes >= ENOUGH_BYTES:
                    self._room.clear()
                    self._enough.set()
                    await self._room.wait()
        except Exception as error:
            # Told to whoever asks, after what came before it.
            self._error = error
        finally:
            self._ended = True
            self._some.set()
            self._enough.set()
