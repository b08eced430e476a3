"""The gRPC server: what it offers, where it listens, how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from parakeetd.errors import ListenError
from parakeetd.rpc.address import Address, TcpAddress, UnixAddress, make_free, parse_address
from parakeetd.rpc.control import SERVICE as CONTROL
from parakeetd.rpc.control import ControlServicer, Steward
from parakeetd.rpc.readable import ReadableMessages
from parakeetd.rpc.riva import SERVICE, RivaServicer
from parakeetd.session import Sessions
from parakeetd.text import HouseStyle, read_tables
from parakeetd_proto import control_pb2_grpc, riva_asr_pb2_grpc

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 64 << 20
"""Longest message, either way: what Riva's offline client may send."""

DRAIN_SECONDS: Final = 10.0
"""At a shutdown, time for streams to end by themselves."""

FLUSH_SECONDS: Final = 5.0
"""Time after that in which those that go on are answered for what they have sent."""

_GOODBYE_SECONDS: Final = 1.0
"""Time for the last statuses to leave, and for calls that only watch."""

_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # A second daemon on the same port must fail, not take every other connection.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Unread audio of a stream is bounded to about a second. By default it is two minutes, and a client that
    # sends faster than is recognised would learn of it that much later.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 32768),
    # Notice within 40 s that a client's machine is gone.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may ask whether the daemon is alive, as often as every 5 s.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class RpcServer:
    """Serves one daemon's sessions. Make it, start it, drain it; each once, in one event loop."""

    def __init__(
        self,
        sessions: Sessions,
        addresses: Sequence[str],
        house: HouseStyle | None = None,
        steward: Steward | None = None,
    ) -> None:
        """Prepare to listen on addresses such as `127.0.0.1:50051` and `unix:/path`.

        Args:
            house: how text is written; as shipped when not given.
            steward: answers the Control service, which only unix sockets offer; without it none does.

        Raises:
            ListenError: an address cannot be understood, or could be reached from other machines.
        """
        self._sessions = sessions
        self._riva = RivaServicer(sessions, house or HouseStyle(read_tables()))
        self._steward = steward
        self._wanted = tuple(parse_address(text) for text in addresses)
        self._doors: tuple[_Door, ...] = ()
        self.addresses: tuple[str, ...] = ()
        """Where it listens, with the real port where 0 was asked for. Empty before the start."""

    def use_house(self, house: HouseStyle) -> None:
        """Write the text of new streams by this."""
        self._riva.house = house

    async def start(self, *, ready: bool = True) -> None:
        """Bind every address and answer calls.

        Args:
            ready: False while there is no model yet; health says so until `be_ready`.

        Raises:
            ListenError: an address cannot be bound; none is bound then.
        """
        kinds = set(map(type, self._wanted))
        readable = (ReadableMessages(),)
        doors = {kind: _Door(grpc.aio.server(options=_OPTIONS, interceptors=readable)) for kind in kinds}
        self._doors = tuple(doors.values())
        try:
            self.addresses = tuple(str(doors[type(address)].bind(address)) for address in self._wanted)
        except ListenError:
            # A server that has never run does not give back what it has bound.
            for door in self._doors:
                await door.server.start()
                await door.server.stop(None)
            raise
        for kind, door in doors.items():
            riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server(self._riva, door.server)
            services = [SERVICE]
            if kind is UnixAddress and self._steward is not None:
                control_pb2_grpc.add_ControlServicer_to_server(ControlServicer(self._steward), door.server)
                services.append(CONTROL)
            await door.open(services, ready=ready)

    async def be_ready(self) -> None:
        """Health says from now on that streams are taken."""
        for door in self._doors:
            for service in ("", SERVICE):
                await door.health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_seconds: float = DRAIN_SECONDS, flush_seconds: float = FLUSH_SECONDS) -> None:
        """End: health first, then new streams are refused, then those in progress finish.

        A client that goes on sending after `grace_seconds` is answered for what it sent, and its stream ends
        with UNAVAILABLE. What is left `flush_seconds` later is cancelled. Takes two seconds more at most.
        """
        try:
            # A client that watches health and does not read must not hold this up.
            await asyncio.wait_for(
                asyncio.gather(*(door.health.enter_graceful_shutdown() for door in self._doors)),
                _GOODBYE_SECONDS,
            )
        except TimeoutError:
            _log.warning("a client that watches the daemon's health does not read what it is told")
        if not await self._sessions.drain(grace_seconds, flush_seconds):
            _log.warning("%d streams did not end in time and are cancelled", self._sessions.active)
        await asyncio.gather(*(door.server.stop(_GOODBYE_SECONDS) for door in self._doors))


class _Door:
    """All addresses of one kind. A service that only one kind may offer does not exist at the other."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self.server = server
        self.health = HealthServicer()

    def bind(self, address: Address) -> Address:
        make_free(address)
        try:
            with _private() if isinstance(address, UnixAddress) else _as_is():
                port = self.server.add_insecure_port(address.target)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error
        return TcpAddress(address.host, port) if isinstance(address, TcpAddress) else address

    async def open(self, services: Sequence[str], *, ready: bool) -> None:
        """Answer calls of these services, which have been added, and tell their health."""
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        told = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*services, told, reflection.SERVICE_NAME), self.server)
        waiting = health_pb2.HealthCheckResponse.NOT_SERVING
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", *services):
            # Control answers while models are loaded, too.
            await self.health.set(service, serving if ready or service == CONTROL else waiting)
        await self.server.start()


@contextmanager
def _private() -> Iterator[None]:
    """Files made meanwhile are for their owner alone."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _as_is() -> Iterator[None]:
    yield
