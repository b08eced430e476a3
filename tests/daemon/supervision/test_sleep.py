"""The machine's sleep, as logind tells it: python-dbusmock's logind on a bus of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from dbus_fast.aio import MessageBus

from logind import Bus, mocked_logind, private_bus
from parakeetd.supervision import SleepWatch, sleep

PATIENCE_SECONDS = 30.0
OURS = ("sleep", "parakeetd", "delay")


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if await happened():
                return
            await asyncio.sleep(0.02)


async def held_once(bus: Bus) -> bool:
    return (await bus.inhibitors()).count(OURS) == 1


async def let_go(bus: Bus) -> bool:
    return OURS not in await bus.inhibitors()


class Watched:
    """A watch over a bus, and what it has called."""

    def __init__(self, address: str, *, hold_up: asyncio.Event | None = None) -> None:
        self.calls: asyncio.Queue[str] = asyncio.Queue()
        self.connections: list[MessageBus] = []
        self._address = address
        self._hold_up = hold_up
        self.watch = SleepWatch(self._before, self._after, connect=self._connect, again_seconds=0.05)

    async def _connect(self) -> MessageBus:
        bus = await MessageBus(bus_address=self._address, negotiate_unix_fd=True).connect()
        self.connections.append(bus)
        return bus

    async def _before(self) -> None:
        self.calls.put_nowait("before")
        if self._hold_up is not None:
            await self._hold_up.wait()

    async def _after(self) -> None:
        self.calls.put_nowait("after")

    async def next_call(self) -> str:
        return await asyncio.wait_for(self.calls.get(), PATIENCE_SECONDS)


@asynccontextmanager
async def watching(folder: Path, hold_up: asyncio.Event | None = None) -> AsyncIterator[tuple[Bus, Watched]]:
    with private_bus(folder) as address, mocked_logind(address):
        bus = await Bus.at(address)
        await until(bus.there_is_logind)
        watched = Watched(address, hold_up=hold_up)
        task = asyncio.create_task(watched.watch.run())
        try:
            await until(lambda: held_once(bus))
            yield bus, watched
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            bus.connection.disconnect()


async def test_sleep_is_held_up_until_what_must_be_done_is_done(tmp_path: Path) -> None:
    done = asyncio.Event()
    async with watching(tmp_path, done) as (bus, watched):
        await bus.tell(sleeping=True)
        assert await watched.next_call() == "before"
        assert OURS in await bus.inhibitors()
        done.set()
        await until(lambda: let_go(bus))


async def test_after_sleep_the_lock_is_taken_again_for_the_next(tmp_path: Path) -> None:
    async with watching(tmp_path) as (bus, watched):
        for _ in range(2):
            await bus.tell(sleeping=True)
            assert await watched.next_call() == "before"
            await bus.tell(sleeping=False)
            assert await watched.next_call() == "after"
            # The mock hears a little later that the first was let go of.
            await until(lambda: held_once(bus))


async def test_what_takes_too_long_does_not_keep_the_machine_awake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sleep, "BEFORE_SECONDS", 0.05)
    async with watching(tmp_path, asyncio.Event()) as (bus, watched):
        await bus.tell(sleeping=True)
        assert await watched.next_call() == "before"
        await until(lambda: let_go(bus))
    assert "not everything could be made ready for sleep" in caplog.text


async def test_a_signal_that_is_not_from_logind_is_not_heeded(tmp_path: Path) -> None:
    async with watching(tmp_path) as (bus, watched):
        receiver = watched.connections[0].unique_name
        assert receiver is not None
        await bus.pretend(receiver, sleeping=True)
        # What logind says after it is the first that is heard of.
        await bus.tell(sleeping=False)
        assert await watched.next_call() == "after"


async def test_a_connection_that_is_lost_is_made_again(tmp_path: Path) -> None:
    async with watching(tmp_path) as (bus, watched):
        watched.connections[0].disconnect()

        async def again() -> bool:
            return len(watched.connections) == 2 and OURS in await bus.inhibitors()

        await until(again)
        await bus.tell(sleeping=True)
        assert await watched.next_call() == "before"


async def test_a_connection_that_is_lost_in_the_machines_sleep_leaves_nobody_asleep(tmp_path: Path) -> None:
    async with watching(tmp_path) as (bus, watched):
        await bus.tell(sleeping=True)
        assert await watched.next_call() == "before"
        await until(lambda: let_go(bus))
        watched.connections[0].disconnect()
        assert await watched.next_call() == "after"
        # It is told once, and the next sleep is noticed as ever.
        await until(lambda: held_once(bus))
        await bus.tell(sleeping=True)
        assert await watched.next_call() == "before"


async def test_a_bus_that_is_gone_for_good_leaves_nobody_asleep(tmp_path: Path) -> None:
    with private_bus(tmp_path) as address, mocked_logind(address):
        bus = await Bus.at(address)
        await until(bus.there_is_logind)
        watched = Watched(address)
        watch = asyncio.create_task(watched.watch.run())
        await until(lambda: held_once(bus))
        await bus.tell(sleeping=True)
        assert await watched.next_call() == "before"
    assert await watched.next_call() == "after"
    await asyncio.wait_for(watch, PATIENCE_SECONDS)


async def test_a_machine_without_d_bus_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    watched = Watched(f"unix:path={tmp_path}/nobody")
    await asyncio.wait_for(watched.watch.run(), PATIENCE_SECONDS)
    assert "suspend of the machine is not noticed: no D-Bus" in caplog.text


async def test_a_bus_without_logind_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with private_bus(tmp_path) as address:
        await asyncio.wait_for(Watched(address).watch.run(), PATIENCE_SECONDS)
    assert "suspend of the machine is not noticed: no logind" in caplog.text
