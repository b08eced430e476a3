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
from parakeetd.rpc.riva import SERVICE, RivaServicer
from parakeetd.session import Sessions
from parakeetd.text import HouseStyle, read_tables
from parakeetd_proto import riva_asr_pb2_grpc

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

    def __init__(self, sessions: Sessions, addresses: Sequence[str], house: HouseStyle | None = None) -> None:
        """Prepare to listen on addresses such as `127.0.0.1:50051` and `unix:/path`.

        Args:
            house: how text is written; as shipped when not given.

        Raises:
            ListenError: an address cannot be understood, or could be reached from other machines.
        """
        self._sessions = sessions
        self._house = house or HouseStyle(read_tables())
        self._wanted = tuple(parse_address(text) for text in addresses)
        self.addresses: tuple[str, ...] = ()
        """Where it listens, with the real port where 0 was asked for. Empty before the start."""

    async def start(self) -> None:
        """Bind every address and answer calls.

        Raises:
            ListenError: an address cannot be bound; none is bound then.
        """
        self._health = HealthServicer()
        self._server = grpc.aio.server(options=_OPTIONS)
        try:
            self.addresses = tuple(str(self._bind(address)) for address in self._wanted)
        except ListenError:
            # A server that has never run does not give back what it has bound.
            await self._server.start()
            await self._server.stop(None)
            raise
        riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server(
            RivaServicer(self._sessions, self._house), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME),
            self._server,
        )
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def drain(self, grace_seconds: float = DRAIN_SECONDS, flush_seconds: float = FLUSH_SECONDS) -> None:
        """End: health first, then new streams are refused, then those in progress finish.

        A client that goes on sending after `grace_seconds` is answered for what it sent, and its stream ends
        with UNAVAILABLE. What is left `flush_seconds` later is cancelled. Takes two seconds more at most.
        """
        try:
            # A client that watches health and does not read must not hold this up.
            await asyncio.wait_for(self._health.enter_graceful_shutdown(), _GOODBYE_SECONDS)
        except TimeoutError:
            _log.warning("a client that watches the daemon's health does not read what it is told")
        if not await self._sessions.drain(grace_seconds, flush_seconds):
            _log.warning("%d streams did not end in time and are cancelled", self._sessions.active)
        await self._server.stop(_GOODBYE_SECONDS)

    def _bind(self, address: Address) -> Address:
        make_free(address)
        try:
            with _private() if isinstance(address, UnixAddress) else _as_is():
                port = self._server.add_insecure_port(address.target)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error
        return TcpAddress(address.host, port) if isinstance(address, TcpAddress) else address


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
