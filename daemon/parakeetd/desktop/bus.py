"""The daemon's place on the session bus: taken where there is one, and taken again when the bus comes back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from dbus_fast import NameFlag, RequestNameReply
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, DBusError, InvalidAddressError

from parakeetd.desktop.interface import INTERFACE, DictationInterface
from parakeetd.dictation import Final as FinalText
from parakeetd.dictation import Interim, State, Watcher
from parakeetd.errors import Overloaded

if TYPE_CHECKING:
    from parakeetd.dictation import Dictation

log = logging.getLogger(__name__)

PATH: Final = "/org/parakeetd/Dictation1"

ANSWER_SECONDS: Final = 10.0
AGAIN_SECONDS: Final = 30.0
"""A bus that is lost, or on which another daemon has the name, is tried again after so long."""


class DesktopBus:
    def __init__(self, dictation: Dictation, address: str, *, again_seconds: float = AGAIN_SECONDS) -> None:
        """
        Args:
            address: of the session bus.
        """
        self._dictation = dictation
        self._address = address
        self._again_seconds = again_seconds

    async def run(self) -> None:
        """Offer the microphone until cancelled, or until the dictation is closed."""
        while True:
            if await self._offered():
                return
            await asyncio.sleep(self._again_seconds)

    async def _offered(self) -> bool:
        """Offer it over one connection. False when that is not to be had, or is lost."""
        try:
            bus = await asyncio.wait_for(MessageBus(bus_address=self._address).connect(), ANSWER_SECONDS)
        except (OSError, EOFError, TimeoutError, AuthError, InvalidAddressError, DBusError) as error:
            log.info("the microphone is not on D-Bus: %s", str(error) or type(error).__name__)
            return False
        try:
            interface = DictationInterface(self._dictation)
            bus.export(PATH, interface)
            # The bus name is that of the interface.
            reply = await asyncio.wait_for(bus.request_name(INTERFACE, NameFlag.DO_NOT_QUEUE), ANSWER_SECONDS)
            if reply is not RequestNameReply.PRIMARY_OWNER:
                log.warning("the microphone is not on D-Bus: another program has the name %s", INTERFACE)
                return False
            log.info("the microphone is on D-Bus as %s", INTERFACE)
            return await self._told(bus, interface)
        except (OSError, EOFError, TimeoutError, DBusError, Overloaded) as error:
            log.info("the microphone left D-Bus: %s", str(error) or type(error).__name__)
            return False
        finally:
            bus.disconnect()

    async def _told(self, bus: MessageBus, interface: DictationInterface) -> bool:
        """Pass on what happens, until the connection is lost; True when nothing more will happen."""
        lost = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        with self._dictation.watch() as watcher:
            telling = asyncio.create_task(_tell(watcher, interface))
            try:
                await asyncio.wait({lost, telling}, return_when=asyncio.FIRST_COMPLETED)
                if telling.done():
                    telling.result()
                    return True
                await lost
                return False
            finally:
                telling.cancel()
                lost.cancel()


async def _tell(watcher: Watcher, interface: DictationInterface) -> None:
    async for event in watcher:
        match event:
            case State():
                interface.tell(event)
            case Interim():
                interface.interim(event.text, event.stability)
            case FinalText():
                interface.final(event.text, event.added)
