"""How a client of ours gets to a server: by which channel, and with which token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from parakeetd.entrance.token import bearer, read_token
from parakeetd.errors import InputError

# A proxy for the web is no way to this machine.
_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a server wants of its clients; by default nothing."""

    ca: bytes | None = None
    """PEM of what signed the server's certificate; with it the channel is encrypted."""
    token: str = ""
    server_name: str = ""
    """In the server's certificate, where that is not the address; empty: the address."""
    certificate: bytes | None = None
    """PEM of the client's own, for servers that want one, with its key."""
    key: bytes | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """To be sent with each call."""
        return bearer(self.token) if self.token else ()

    def channel(self, address: str, options: Sequence[tuple[str, str | int]] = ()) -> grpc.Channel:
        """To `HOST:PORT` or `unix:PATH`, as gRPC writes it, with more of gRPC's options."""
        if (credentials := self._credentials(address)) is None:
            return grpc.insecure_channel(address, options=self._options(options))
        return grpc.secure_channel(address, credentials, options=self._options(options))

    def aio_channel(self, address: str, options: Sequence[tuple[str, str | int]] = ()) -> grpc.aio.Channel:
        """The same for asyncio."""
        if (credentials := self._credentials(address)) is None:
            return grpc.aio.insecure_channel(address, options=self._options(options))
        return grpc.aio.secure_channel(address, credentials, options=self._options(options))

    def _credentials(self, address: str) -> grpc.ChannelCredentials | None:
        # What is in [tls] is about TCP.
        if self.ca is None or address.startswith("unix:"):
            return None
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)

    def _options(self, more: Sequence[tuple[str, str | int]]) -> list[tuple[str, str | int]]:
        name = self.server_name
        return [*_OPTIONS, *more, *([("grpc.ssl_target_name_override", name)] if name else [])]


def read_reach(
    ca: Path | None,
    token_file: Path | None,
    server_name: str = "",
    certificate: Path | None = None,
    key: Path | None = None,
) -> Reach:
    """From the files that a person names.

    Raises:
        InputError: a file cannot be read or used; the message names it.
    """
    if (certificate is None) != (key is None):
        raise InputError("--certificate and --key belong together: give both, or neither")
    if ca is None and (server_name or certificate):
        raise InputError("--server-name and --certificate are of no use without --ca")
    token = read_token(token_file) if token_file else ""
    return Reach(_read(ca), token, server_name, _read(certificate), _read(key))


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
