"""The adapters of one daemon: those that are switched on, started and ended with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from parakeetd.entrance.access import Access, check_exposure, exposed
from parakeetd.entrance.address import Address, TcpAddress, parse_address
from parakeetd.entrance.limits import CallLimits, make_room
from parakeetd.errors import ConfigError, ListenError
from parakeetd.session import Sessions
from parakeetd.text import HouseStyle

_log = logging.getLogger(__name__)

LIBRARIES: Final = {"wyoming": "wyoming", "openai": "aiohttp"}
"""What each is built on."""


class Adapter(Protocol):
    """A server for one protocol, at one address."""

    house: HouseStyle
    """How the text of new streams is written."""

    @property
    def name(self) -> str: ...

    async def start(self) -> str:
        """Listen; where, as a client of the protocol writes it."""

    async def close(self) -> None:
        """End, with a moment for answers on their way."""


class Adapters:
    """Make them, start them, close them; each once, in one event loop."""

    def __init__(
        self,
        sessions: Sessions,
        house: HouseStyle,
        *,
        wyoming: str = "",
        openai: str = "",
        access: Access | None = None,
        limits: CallLimits | None = None,
    ) -> None:
        """
        Args:
            wyoming: address for the Wyoming protocol, empty for none.
            openai: the same for OpenAI's.

        Raises:
            ListenError: an address cannot be used, or other machines would reach it unguarded;
            ConfigError: a library is not installed, or a file of tokens or certificates cannot be used.
        """
        access, limits = access or Access(), limits or CallLimits()
        check_adapters(wyoming, openai, access)
        self._access = access
        self._limits = limits
        self._guarded = [parse_address(openai)] if openai else []
        self._adapters: list[Adapter] = []
        self.addresses: tuple[str, ...] = ()
        """Where they listen, each with its name, for people. Empty before the start."""
        if wyoming:
            with _libraries("wyoming"):
                from parakeetd.adapters.wyoming import WyomingAdapter
            self._adapters.append(WyomingAdapter(sessions, house, parse_address(wyoming), access, limits))
        if openai:
            with _libraries("openai"):
                from parakeetd.adapters.openai import OpenAIAdapter
            self._adapters.append(OpenAIAdapter(sessions, house, parse_address(openai), access, limits))

    def use_house(self, house: HouseStyle) -> None:
        """Write the text of new streams by this."""
        for adapter in self._adapters:
            adapter.house = house

    async def start(self) -> None:
        """Listen at every address.

        Raises:
            ListenError: one cannot be bound; nothing listens then.
        """
        for warning in exposed(self._guarded, self._access):
            _log.warning("adapters.openai %s", warning)
        # Beside those of gRPC.
        make_room((1 + len(self._adapters)) * self._limits.max_connections)
        try:
            for adapter in self._adapters:
                self.addresses += (f"{adapter.name} at {await adapter.start()}",)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End those that were started."""
        await asyncio.gather(*(adapter.close() for adapter in self._adapters))


def check_adapters(wyoming: str, openai: str, access: Access) -> None:
    """
    Raises:
        ListenError: an address cannot be used, or other machines could connect to it and nothing guards it.
    """
    for address in _parsed("adapters.openai", openai):
        check_exposure([address], access)
    for address in _parsed("adapters.wyoming", wyoming):
        if isinstance(address, TcpAddress) and not address.is_loopback and not access.insecure_remote:
            raise ListenError(
                f"cannot listen on {address} (adapters.wyoming): other machines could send audio and read text, and "
                "the Wyoming protocol knows neither passwords nor encryption; name an address of this machine, or pass "
                "--insecure-remote if the network keeps them out"
            )


def without_library(key: str) -> str:
    """What is said where the library of an adapter is missing."""
    return f"adapters.{key} needs the library {LIBRARIES[key]}; install it with: pip install 'parakeetd[adapters]'"


@contextmanager
def _libraries(key: str) -> Iterator[None]:
    """
    Raises:
        ConfigError: the library of this adapter is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != LIBRARIES[key]:
            raise
        raise ConfigError(without_library(key)) from error


def _parsed(key: str, text: str) -> Iterator[Address]:
    if text:
        try:
            yield parse_address(text)
        except ListenError as error:
            raise ListenError(f"{key}: {error}") from error
