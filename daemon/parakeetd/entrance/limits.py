"""Limits of calls as such, and whose a call is."""

from __future__ import annotations

import ipaddress
import logging
import resource
from dataclasses import dataclass
from typing import Final

from parakeetd.session import HERE, Client

_log = logging.getLogger(__name__)

_FILES_BESIDE: Final = 256
"""Open files of a daemon beside its connections: models, libraries, children, its log."""

_SYSTEMS_PREFIX: Final = 64
"""Bits of an IPv6 address that are one client: the rest of it a machine chooses, and changes, as it likes."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Of calls as such, whatever they ask for."""

    max_connections: int = 256
    """At each address; the next one is closed at once."""
    max_message_mib: int = 64
    """Longest message, either way. 64: what Riva's offline client may send."""
    unread_seconds: float = 20.0
    """A client that does not take a result for this long is ended."""
    upload_seconds: float = 300.0
    """In which a request of one message must have arrived."""


def client_at(host: str) -> Client:
    """Whose a connection is, by the address that it comes from."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return Client(host, local=False)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None and not address.is_loopback:
            return Client(
                str(ipaddress.ip_network((int(address), _SYSTEMS_PREFIX), strict=False)), local=False
            )
        address = address.ipv4_mapped or address
    return HERE if address.is_loopback else Client(str(address), local=False)


def make_room(connections: int) -> None:
    """Raise the process's limit of open files so far that this many connections do not use it up."""
    wanted = connections + _FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _log.warning(
            "only %d files may be open at once: that is less than limits.max_connections = %d may need; "
            "raise LimitNOFILE of the service, or ulimit -n",
            most,
            connections,
        )
