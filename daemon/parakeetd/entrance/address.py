"""Addresses to listen on: read from text, checked, and made free for binding."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parakeetd.errors import ListenError

_UNIX: Final = "unix:"
_TCP: Final = "tcp://"
_MAX_PATH_BYTES: Final = 107
"""Linux: sockaddr_un.sun_path, less its terminating zero."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Port 0: any free one. 0.0.0.0 and :: both mean all addresses of the machine, of either kind."""

    host: str
    """Numeric, without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The address as gRPC writes it."""
        return str(self)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def from_here(self) -> TcpAddress:
        """Where a program on this machine reaches what listens on it."""
        if not ipaddress.ip_address(self.host).is_unspecified:
            return self
        return TcpAddress("::1" if ":" in self.host else "127.0.0.1", self.port)


@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: Path
    """Absolute."""

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"

    @property
    def target(self) -> str:
        """The address as gRPC writes it: a URI, so that some characters are escaped."""
        return f"{_UNIX}{urllib.parse.quote(str(self.path))}"


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """Read `127.0.0.1:50051`, `[::1]:50051`, `localhost:50051`, another numeric address, or `unix:/path`; the first
    ones also as URIs, `tcp://127.0.0.1:50051`.

    Raises:
        ListenError: it is none of these.
    """
    if text.startswith("unix-abstract:"):
        raise ListenError(
            f"cannot listen on {text}: every user could open an abstract socket; use unix:/path"
        )
    if text.startswith(_UNIX):
        return _unix(text)
    host, _, port = text.removeprefix(_TCP).rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ListenError(
            f"cannot listen on {text!r}: write HOST:PORT with a port of 0 to 65535, or unix:/path; "
            "for example 127.0.0.1:50051"
        )
    return TcpAddress(_numeric(text, host.removeprefix("[").removesuffix("]")), int(port))


def _numeric(text: str, host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ListenError(
            f"cannot listen on {text}: write the host as an IP address, such as 127.0.0.1"
        ) from None


def _unix(text: str) -> UnixAddress:
    path = Path(text.removeprefix(_UNIX))
    # unix:///path is the same address in the form of a URI with an empty host.
    if str(path).startswith("//"):
        path = Path("/" + str(path).lstrip("/"))
    if not path.is_absolute():
        raise ListenError(f"cannot listen on {text}: write the whole path, beginning with a slash")
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ListenError(f"cannot listen on {text}: a socket's path has at most {_MAX_PATH_BYTES} bytes")
    return UnixAddress(path)


def make_free(address: Address, option: str = "--listen") -> None:
    """See that an address can be bound now.

    Removes the socket file that a dead daemon left behind. Makes the folder for a socket, open to its owner
    alone, if only that is missing.

    gRPC says only that binding failed, and it takes a unix socket away from a daemon that is using it.

    Args:
        option: names another address, for the message.

    Raises:
        ListenError: it cannot be bound; the message names the address and the reason.
    """
    try:
        if isinstance(address, UnixAddress):
            _free_unix(address)
        else:
            _free_tcp(address)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {_reason(address, error, option)}") from error


def _free_tcp(address: TcpAddress) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gRPC does: connections of a daemon that has just ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address.host, address.port))
        # Two sockets with SO_REUSEADDR may share an address as long as neither listens.
        probe.listen(1)


def _free_unix(address: UnixAddress) -> None:
    path = address.path
    if not path.parent.parent.is_dir():
        raise ListenError(f"cannot listen on {address}: the folder {path.parent.parent} does not exist")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(
            f"cannot listen on {address}: there is something that is not a socket; remove it yourself"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            # Its queue of connections is full: somebody listens.
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _reason(address: Address, error: OSError, option: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"it is in use, perhaps by another parakeetd; stop that, or choose another with {option}"
        case errno.EACCES if isinstance(address, TcpAddress):
            return f"ports below 1024 are for root; choose another with {option}"
        case errno.EACCES:
            return f"permission denied; choose another with {option}"
        case _:
            return f"{error.strerror or error}; choose another with {option}"
