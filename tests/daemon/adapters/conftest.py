"""Adapters over a fake engine, in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from parakeetd.adapters import Adapters
from parakeetd.entrance.access import Access
from parakeetd.entrance.limits import CallLimits
from parakeetd.routing import Engine, Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.session import ServedModel, SessionSettings
from parakeetd.text import HouseStyle, read_tables
from wire import WatchedSessions


@dataclass
class Running:
    sessions: WatchedSessions
    adapters: Adapters

    def at(self, name: str) -> str:
        """Where it listens for a protocol."""
        [said] = [address for address in self.adapters.addresses if address.startswith(f"{name} at ")]
        return said.removeprefix(f"{name} at ")

    @property
    def openai(self) -> str:
        return self.at("OpenAI")

    @property
    def wyoming(self) -> str:
        return self.at("Wyoming")


Adapting = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def served() -> Iterator[Callable[..., ServedModel]]:
    """Makes models over fake engines, and closes them at the end of the test."""
    routers: list[Router] = []

    def make(
        engine: Engine | None = None, name: str = "fake", languages: tuple[str, ...] = ("en-US",)
    ) -> ServedModel:
        routers.append(Router({"cpu": lambda: engine or FakeEngine()}))
        return ServedModel(name, languages, routers[-1])

    yield make
    for router in routers:
        router.close(5)


@pytest.fixture
def adapting(served: Callable[..., ServedModel]) -> Adapting:
    """`async with adapting(...) as running` serves both protocols on free ports, or at other addresses."""

    @asynccontextmanager
    async def adapt(
        engine: Engine | None = None,
        *,
        models: tuple[ServedModel, ...] | None = None,
        wyoming: str = "127.0.0.1:0",
        openai: str = "127.0.0.1:0",
        settings: SessionSettings | None = None,
        commands: bool = False,
        access: Access | None = None,
        limits: CallLimits | None = None,
    ) -> AsyncIterator[Running]:
        sessions = WatchedSessions(
            (served(engine),) if models is None else models, settings or SessionSettings()
        )
        house = HouseStyle(read_tables(), commands=commands)
        adapters = Adapters(sessions, house, wyoming=wyoming, openai=openai, access=access, limits=limits)
        await adapters.start()
        try:
            yield Running(sessions, adapters)
        finally:
            await sessions.drain(0.1, 2)
            await adapters.close()

    return adapt
