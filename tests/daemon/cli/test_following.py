"""Following a daemon that comes and goes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from parakeetd.cli.following import Absent, Happening, followed_always
from parakeetd.dictation import Final, State
from parakeetd.errors import ListenError
from parakeetd_proto import control_pb2 as control
from parakeetd_proto import control_pb2_grpc

WAIT_SECONDS = 30.0


class Told(control_pb2_grpc.ControlServicer):
    """A daemon that tells of one utterance, and then of nothing more."""

    async def Watch(  # noqa: N802
        self, request: control.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[control.WatchResponse]:
        yield control.WatchResponse(state=control.MicrophoneState(phase=control.MicrophoneState.IDLE))
        yield control.WatchResponse(final=control.Final(session=1, text="one", added="one"))
        await asyncio.Event().wait()


@asynccontextmanager
async def daemon(address: str) -> AsyncIterator[None]:
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(Told(), server)  # type: ignore[abstract]
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


class Heard:
    def __init__(self) -> None:
        self.events: list[Happening] = []
        self._news = asyncio.Event()

    async def take(self, event: Happening) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, kind: type[Happening]) -> None:
        """Until such an event has come, after which all is forgotten."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not any(isinstance(event, kind) for event in self.events):
                self._news.clear()
                await self._news.wait()
        self.events.clear()


async def test_a_daemon_is_waited_for_and_followed_again_after_its_end(tmp_path: Path) -> None:
    address, heard = f"unix:{tmp_path}/d.sock", Heard()
    following = asyncio.create_task(followed_always(address, heard.take))
    await heard.until(Absent)
    for _ in range(2):
        async with daemon(address):
            await heard.until(Final)
        await heard.until(Absent)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(WAIT_SECONDS):
        await following


async def test_what_is_the_matter_is_told_once_while_it_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parakeetd.cli.following.AGAIN_SECONDS", 0.01)
    address, told = f"unix:{tmp_path}/d.sock", list[Happening]()
    first = asyncio.Event()

    async def take(event: Happening) -> None:
        told.append(event)
        first.set()

    following = asyncio.create_task(followed_always(address, take))
    async with asyncio.timeout(WAIT_SECONDS):
        await first.wait()
    # Time for it to be tried again, many times on a quick machine.
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
    await following
    assert told == [Absent(f"no daemon listens at {address}; start it with: parakeetd serve")]


async def test_what_the_taker_raises_ends_it(tmp_path: Path) -> None:
    async def take(event: Happening) -> None:
        if isinstance(event, State):
            raise ValueError("no more")

    address = f"unix:{tmp_path}/d.sock"
    async with daemon(address):
        with pytest.raises(ValueError, match="no more"):
            await followed_always(address, take)


async def test_an_address_that_is_none_is_not_waited_for() -> None:
    async def take(event: Happening) -> None:
        pytest.fail(str(event))

    with pytest.raises(ListenError):
        await followed_always("unix:", take)
