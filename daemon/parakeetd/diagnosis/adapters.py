"""Whether the adapters that are switched on could serve."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from parakeetd.adapters import LIBRARIES, check_adapters, without_library
from parakeetd.config import AdapterSettings
from parakeetd.diagnosis.addresses import accepts
from parakeetd.diagnosis.check import Check
from parakeetd.entrance.access import Access, exposed
from parakeetd.entrance.address import TcpAddress, make_free, parse_address
from parakeetd.errors import ListenError


def adapter_checks(settings: AdapterSettings, access: Access) -> Iterator[Check]:
    """A check for each."""
    if settings.wyoming:
        yield _check("wyoming", settings.wyoming, access)
    if settings.openai:
        yield _check("openai", settings.openai, access)


def _check(key: str, text: str, access: Access) -> Check:
    subject, library = f"adapter {key} {text}", LIBRARIES[key]
    if importlib.util.find_spec(library) is None:
        return Check(subject, "problem", without_library(key))
    try:
        address = parse_address(text)
        check_adapters(text if key == "wyoming" else "", text if key == "openai" else "", access)
        if accepts(address):
            return Check(
                subject, "note", "something listens there: the daemon, if it runs, or what is in its way"
            )
        if isinstance(address, TcpAddress):
            make_free(address, f"adapters.{key}")
    except ListenError as error:
        return Check(subject, "problem", str(error))
    if warnings := " ".join(exposed([address], access)):
        return Check(subject, "note", f"free; {warnings}")
    return Check(subject, "ok", "free")
