"""Which requests a browser makes for a page that has no business here. Pure functions.

A page of any site can make its browser send requests to this machine, and by rebinding a name of its own to 127.0.0.1
read the answers too. Nothing here is made for pages: what comes for one is refused, and no page is ever told that it
may read an answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

from parakeetd.errors import Refused


class Foreign(Refused):
    """A request that a page of another origin made, or that was meant for another host."""


def check_page(headers: Mapping[str, str]) -> None:
    """
    Raises:
        Foreign: a browser sends it for a page.
    """
    if (origin := headers.get("Origin")) is not None:
        raise Foreign(f"web pages may not use this server: the request comes from {origin[:100]!r}")
    # Browsers leave the origin out where they only follow a link or load an image.
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Foreign("web pages may not use this server: the request comes from a page of another site")


def check_host(host: str | None, own_names: Collection[str]) -> None:
    """
    Args:
        host: as the request names it, with a port or without.
        own_names: of this machine, beside `localhost` and any address.

    Raises:
        Foreign: it is the name of another machine.
    """
    name = _without_port(host or "").lower().rstrip(".")
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        if name != "localhost" and not name.endswith(".localhost") and name not in own_names:
            raise Foreign(
                f"this server is not {(host or '')[:100]!r}: call it localhost, or by its address"
            ) from None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) and not name.endswith(":") else host
