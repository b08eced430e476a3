"""Who may connect: what stands between other machines and the daemon, and whether it is enough."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parakeetd.entrance.address import Address, TcpAddress
from parakeetd.errors import ConfigError, ListenError

_FOR_OTHERS: Final = stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect. A unix socket is guarded by its file's mode; the rest is about TCP addresses, all of them."""

    certificate: Path | None = None
    """PEM, the server's own first; with it TCP is TLS."""
    key: Path | None = None
    client_ca: Path | None = None
    """PEM; clients must show a certificate that one of these signed."""
    token_file: Path | None = None
    """Tokens, one of which each call must carry."""
    insecure_remote: bool = False
    """Other machines may connect without any of these."""
    socket_group: str = ""
    """Whose members may open unix sockets, beside the owner; empty for nobody."""


def check_exposure(addresses: Sequence[Address], access: Access) -> None:
    """
    Raises:
        ListenError: other machines could connect to one of the addresses, and nothing guards it.
    """
    if access.certificate or access.token_file or access.insecure_remote:
        return
    for address in _remote(addresses):
        raise ListenError(
            f"cannot listen on {address}: other machines could send audio and read text without a password; set "
            "tls.certificate or server.token_file, or pass --insecure-remote if the network keeps them out"
        )


def exposed(addresses: Sequence[Address], access: Access) -> Iterator[str]:
    """What the owner of the machine should know of addresses that other machines reach, a sentence for each."""
    for address in _remote(addresses):
        if access.certificate is None and access.token_file is not None:
            yield f"{address}: tokens, audio and text are sent unencrypted; tls.certificate and tls.key encrypt them"
        elif access.certificate is None:
            yield f"{address}: whoever reaches it can use it, and audio and text are sent unencrypted"
        elif access.token_file is None and access.client_ca is None:
            yield f"{address}: whoever reaches it can use it; server.token_file or tls.client_ca lets only some in"


def _remote(addresses: Sequence[Address]) -> list[TcpAddress]:
    return [address for address in addresses if isinstance(address, TcpAddress) and not address.is_loopback]


def read_secret(path: Path, what: str) -> bytes:
    """A file that others must not read.

    Raises:
        ConfigError: it cannot be read, or by everybody; the message begins with `what`.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _FOR_OTHERS:
                raise ConfigError(f"{what} {path}: other users can open it; run: chmod o= {path}")
            return file.read()
    except OSError as error:
        raise ConfigError(f"{what} {path}: cannot be read: {error.strerror or error}") from error


Stamp = tuple[int, int, int] | None
"""Of a file: another one means that its content may have changed."""


def stamp_of(path: Path) -> Stamp:
    """None when there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
