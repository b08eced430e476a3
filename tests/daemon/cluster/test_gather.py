"""Messages that travel together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from parakeetd.cluster.gather import ENOUGH_BYTES, Gathered


class Client:
    """Sends when it is told to."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.read = 0

    def send(self, *messages: bytes | Exception | None) -> None:
        for message in messages:
            self._waiting.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._waiting.get()) is not None:
            if isinstance(message, Exception):
                raise message
            self.read += 1
            yield message


async def test_the_first_message_goes_at_once_and_those_that_come_right_after_it_go_together() -> None:
    client = Client()
    gathered = Gathered(aiter(client))
    client.send(b"configuration")
    assert await anext(gathered) == [b"configuration"]
    client.send(b"1", b"2", b"3")
    assert await anext(gathered) == [b"1", b"2", b"3"]
    gathered.close()


async def test_nothing_is_lost_or_doubled_whatever_the_pace_and_the_end_comes_last() -> None:
    client = Client()
    gathered = Gathered(aiter(client))
    sent = [bytes([number]) * (number * 97 % 5000) for number in range(200)]

    async def send() -> None:
        for number, message in enumerate(sent):
            client.send(message)
            await asyncio.sleep(0.002 * (number % 3))
        client.send(None)

    sending = asyncio.create_task(send())
    groups = [group async for group in gathered]
    await sending
    assert [message for group in groups for message in group] == sent
    assert len(groups) < len(sent)


async def test_no_more_is_read_than_is_enough_until_it_has_gone() -> None:
    client = Client()
    gathered = Gathered(aiter(client))
    client.send(*[bytes(ENOUGH_BYTES // 2)] * 6, None)
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.read == 2
    assert [len(group) async for group in gathered] == [2, 2, 2]


async def test_an_error_of_the_connection_comes_after_what_was_sent_before_it() -> None:
    client = Client()
    gathered = Gathered(aiter(client))
    client.send(b"1", ConnectionError("reset"))
    assert await anext(gathered) == [b"1"]
    with pytest.raises(ConnectionError, match="reset"):
        await anext(gathered)


async def test_who_waits_for_a_stream_that_is_closed_is_told_that_it_has_ended() -> None:
    gathered = Gathered(aiter(Client()))
    waiting = asyncio.ensure_future(anext(gathered, None))
    await asyncio.sleep(0)
    gathered.close()
    assert await waiting is None
