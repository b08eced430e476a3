"""A server with a fake engine, in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing

import pytest

from parakeetd.entrance.access import Access
from parakeetd.entrance.limits import CallLimits
from parakeetd.model.biasing import Biasing
from parakeetd.model.decoding import Decoder
from parakeetd.routing import Engine, Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.client import NO_GUARD
from parakeetd.rpc.reach import Reach
from parakeetd.session import ServedModel, SessionSettings
from parakeetd.text import HouseStyle
from wire import UNLIMITED, Client, Daemon, Serving, WatchedSessions


@pytest.fixture
def routers() -> Iterator[Callable[[Engine], Router]]:
    """Makes routers over fake engines, and closes them at the end of the test."""
    made: list[Router] = []

    def make(engine: Engine) -> Router:
        made.append(Router({"cpu": lambda: engine}))
        return made[-1]

    yield make
    for router in made:
        router.close(5)


@pytest.fixture
def serving(routers: Callable[[Engine], Router]) -> Serving:
    """`async with serving(...) as daemon` runs a server on a free port, or at `address`."""

    @asynccontextmanager
    async def serve(
        engine: Engine | None = None,
        *,
        languages: tuple[str, ...] = ("en-US",),
        address: str = "127.0.0.1:0",
        settings: SessionSettings | None = None,
        decoders: tuple[Decoder, ...] = ("tdt",),
        writes_punctuation: bool = False,
        house: HouseStyle | None = None,
        biasing: Biasing | None = None,
        access: Access | None = None,
        limits: CallLimits | None = None,
        reach: Reach = NO_GUARD,
    ) -> AsyncIterator[Daemon]:
        router = routers(engine or FakeEngine())
        model = ServedModel("fake", languages, router, decoders, writes_punctuation, biasing)
        sessions = WatchedSessions((model,), settings or SessionSettings())
        server = RpcServer(sessions, (address,), house, access=access, limits=limits)
        await server.start()
        try:
            channel_options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
            async with reach.aio_channel(server.addresses[0], channel_options) as channel:
                with closing(Client(server.addresses[0], channel, reach)) as client:
                    yield Daemon(server, sessions, client)
        finally:
            await server.drain(0.1, 2)

    return serve
