"""An address at which an adapter takes connections: bound, limited, and given back."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from parakeetd.entrance.address import Address, TcpAddress, UnixAddress, make_free
from parakeetd.entrance.limits import client_at
from parakeetd.entrance.socket_files import private, share
from parakeetd.errors import ListenError
from parakeetd.session import HERE, Client

GOODBYE_SECONDS: Final = 1.0
"""At the end, time for the last answers to leave."""

IDLE_SECONDS: Final = 600.0
"""A connection that asks for nothing for this long is closed; clients connect again by themselves. As for gRPC."""


class Listener:
    """Takes connections until it is closed."""

    def __init__(self, address: Address, option: str, *, socket_group: str = "") -> None:
        """
        Args:
            option: that named the address, for messages.
            socket_group: whose members may open a unix socket, beside the owner.
        """
        self.address = address
        """With the real port, once it is open."""
        self._option = option
        self._socket_group = socket_group
        self._server: asyncio.Server | None = None

    async def open(
        self,
        protocol: Callable[[], asyncio.BaseProtocol],
        is_full: Callable[[], bool],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Serve each connection by a new protocol; one that comes when it is full is closed at once.

        Raises:
            ListenError: the address cannot be bound.
        """

        def take() -> asyncio.BaseProtocol:
            return _TooMany() if is_full() else protocol()

        make_free(self.address, self._option)
        bound = self._bound()
        loop = asyncio.get_running_loop()
        if isinstance(self.address, UnixAddress):
            self._server = await loop.create_unix_server(take, sock=bound)
        else:
            self.address = TcpAddress(self.address.host, bound.getsockname()[1])
            self._server = await loop.create_server(take, sock=bound, ssl=tls)

    def close(self) -> None:
        """Take no more connections."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if isinstance(self.address, UnixAddress):
            self.address.path.unlink(missing_ok=True)

    def _bound(self) -> socket.socket:
        address = self.address
        family = socket.AF_UNIX
        if isinstance(address, TcpAddress):
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            if isinstance(address, UnixAddress):
                with private():
                    bound.bind(str(address.path))
                if self._socket_group:
                    share(address, self._socket_group)
            else:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind((address.host, address.port))
        except OSError as error:
            bound.close()
            raise ListenError(
                f"cannot listen on {address} ({self._option}): {error.strerror or error}"
            ) from error
        except ListenError:
            bound.close()
            raise
        return bound


class _TooMany(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def client_of(transport: asyncio.BaseTransport) -> Client:
    """Whose a connection is."""
    peer = transport.get_extra_info("peername")
    return client_at(peer[0]) if isinstance(peer, tuple) else HERE
