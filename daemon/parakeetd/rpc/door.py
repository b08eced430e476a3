"""A gRPC server for all addresses of one kind: TCP, or unix sockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from parakeetd.entrance.address import Address, TcpAddress, UnixAddress, make_free
from parakeetd.entrance.limits import CallLimits
from parakeetd.entrance.socket_files import private, share
from parakeetd.errors import ListenError
from parakeetd.rpc.gate import Gate

_ROOM_FOR_REFUSALS: Final = 64
"""Calls of one connection beside its streams. gRPC keeps more than that waiting; one stream too many is to be told."""

_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # A second daemon on the same port must fail, not take every other connection.
    ("grpc.so_reuseport", 0),
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
    # A connection that does not become HTTP/2, or TLS before it, is closed; so is one that carried no call for a while.
    # Clients connect again by themselves.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
)


def _options(limits: CallLimits, max_streams: int) -> list[tuple[str, int]]:
    message = limits.max_message_mib << 20
    return [
        *_OPTIONS,
        ("grpc.max_receive_message_length", message),
        ("grpc.max_send_message_length", message),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.max_concurrent_streams", max_streams + _ROOM_FOR_REFUSALS),
    ]


class Door:
    """A service that only one kind of address may offer does not exist at the other."""

    def __init__(
        self,
        gate: Gate,
        limits: CallLimits,
        max_streams: int,
        *,
        credentials: grpc.ServerCredentials | None = None,
        socket_group: str = "",
    ) -> None:
        """
        Args:
            max_streams: at once, for one connection to have room for.
            credentials: encrypts TCP; None: it is not encrypted.
            socket_group: whose members may open unix sockets, beside the owner.
        """
        self.server = grpc.aio.server(options=_options(limits, max_streams), interceptors=(gate,))
        self.health = HealthServicer()
        self._credentials = credentials
        self._socket_group = socket_group

    def bind(self, address: Address) -> Address:
        """Returns the address with its real port.

        Raises:
            ListenError: it cannot be bound, or not be given to the group.
        """
        make_free(address)
        try:
            if isinstance(address, UnixAddress):
                with private():
                    self.server.add_insecure_port(address.target)
                if self._socket_group:
                    share(address, self._socket_group)
                return address
            if self._credentials is None:
                port = self.server.add_insecure_port(address.target)
            else:
                port = self.server.add_secure_port(address.target, self._credentials)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error
        return TcpAddress(address.host, port)

    async def open(self, services: Sequence[str], *, ready: bool, always: Sequence[str] = ()) -> None:
        """Answer calls of services that have been added, and tell their health.

        Args:
            ready: whether they can do their work yet.
            always: other services, which can.
        """
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        told = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*services, *always, told, reflection.SERVICE_NAME), self.server)
        waiting = health_pb2.HealthCheckResponse.NOT_SERVING
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", *services, *always):
            await self.health.set(service, serving if ready or service in always else waiting)
        await self.server.start()
