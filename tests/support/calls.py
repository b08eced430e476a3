"""Streams of a client that is told what the server said, also when it was writing at that moment.

The client of grpc.aio is not: a write that fails because its call has just ended replaces the server's status by an
INTERNAL of its own (github.com/grpc/grpc/issues/36066). The blocking client waits for the status; it is what this makes
a coroutine of.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc

_SENT_ALL: Final = None


@dataclass
class Ending:
    """What a call still answered, and how it ended."""

    texts: list[str]
    code: grpc.StatusCode
    message: str


class Call:
    """A stream that a method of a blocking channel begins. Use it in the event loop that it was made in."""

    def __init__(self, begin: Callable[[Iterator[Any]], Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._unsent: queue.SimpleQueue[tuple[Any, asyncio.Future[bool] | None] | None] = queue.SimpleQueue()
        self._untaken: set[asyncio.Future[bool]] = set()
        self._ended = asyncio.Event()
        # A thread of its own: as many calls as there are may wait for an answer at the same time.
        self._reader = ThreadPoolExecutor(max_workers=1)
        self._call = begin(self._requests())
        if not self._call.add_callback(self._at_end):
            self._at_end()

    def done(self) -> bool:
        return self._ended.is_set()

    async def write(self, request: Any) -> bool:
        """Send a message; whether it was, before the call ended.

        As with grpc.aio it returns when gRPC has taken the message, which it does not while the server reads nothing.
        """
        if self.done():
            return False
        taken: asyncio.Future[bool] = self._loop.create_future()
        self._untaken.add(taken)
        self._unsent.put((request, taken))
        try:
            return await taken
        finally:
            self._untaken.discard(taken)

    def send_all(self, requests: Iterable[Any]) -> None:
        """Send these as fast as they are taken, and no more after them."""
        for request in requests:
            self._unsent.put((request, None))
        self.done_writing()

    def done_writing(self) -> None:
        self._unsent.put(_SENT_ALL)

    def cancel(self) -> None:
        self._call.cancel()

    async def read(self) -> Any:
        """The next answer, or nothing at the end of the call.

        Raises:
            grpc.RpcError: the call ended otherwise than well.
        """
        return await self._loop.run_in_executor(self._reader, next, self._call, None)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (response := await self.read()) is not None:
            yield response

    async def code(self) -> grpc.StatusCode:
        """How the call ended; waits until it has."""
        await self._ended.wait()
        code: grpc.StatusCode = self._call.code()
        return code

    async def details(self) -> str:
        await self._ended.wait()
        return self._call.details() or ""

    async def ending(self) -> Ending:
        """Read to the end."""
        texts: list[str] = []
        with suppress(grpc.RpcError):
            async for response in self:
                texts += [item.alternatives[0].transcript for item in response.results]
        return Ending(texts, await self.code(), await self.details())

    def _requests(self) -> Iterator[Any]:
        # gRPC asks for the next one when it has taken the one before.
        while (item := self._unsent.get()) is not _SENT_ALL:
            request, taken = item
            yield request
            if taken is not None:
                self._in_loop(_settle, taken, True)

    def _at_end(self) -> None:
        self._unsent.put(_SENT_ALL)
        self._in_loop(self._end)

    def _end(self) -> None:
        self._ended.set()
        for taken in self._untaken:
            _settle(taken, False)

    def _in_loop(self, callback: Callable[..., object], *given: object) -> None:
        # A test that is over has closed its loop; nobody waits there any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *given)


def _settle(taken: asyncio.Future[bool], was: bool) -> None:
    if not taken.done():
        taken.set_result(was)
