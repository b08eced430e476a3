"""Notices through logind that the machine is about to sleep, and holds that up for a moment.

The protocol is systemd's "Inhibitor Locks": a lock of mode `delay` is held while the machine is awake. At the signal
`PrepareForSleep(true)` what must be done is done and the lock is let go of; at `PrepareForSleep(false)` it is taken
again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, DBusError, InvalidAddressError

log = logging.getLogger(__name__)

LOGIND: Final = "org.freedesktop.login1"
MANAGER: Final = "org.freedesktop.login1.Manager"
PATH: Final = "/org/freedesktop/login1"
BUS: Final = "org.freedesktop.DBus"

BEFORE_SECONDS: Final = 4.0
"""logind waits for 5 s by default (InhibitDelayMaxSec=)."""

ANSWER_SECONDS: Final = 10.0
"""A bus that does not answer for so long is given up."""

AGAIN_SECONDS: Final = 30.0
"""A connection that was lost is tried again after so long."""

Connect = Callable[[], Awaitable[MessageBus]]


class SleepWatch:
    """Calls `before` when the machine is about to sleep and `after` when it is awake again."""

    def __init__(
        self,
        before: Callable[[], Awaitable[None]],
        after: Callable[[], Awaitable[None]],
        *,
        connect: Connect | None = None,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._before = before
        self._after = after
        self._connect = connect or system_bus
        self._again_seconds = again_seconds
        self._lock: int | None = None
        """File descriptor of the inhibitor."""
        self._asleep = False
        """Whether `before` was called last, not `after`."""

    async def run(self) -> None:
        """Watch until cancelled. Returns where there is no D-Bus or no logind: then sleep goes unnoticed."""
        again = True
        while again:
            again = await self._watch()
            if again or self._asleep:
                await asyncio.sleep(self._again_seconds)
            if self._asleep:
                # Who would have told that the machine is awake is gone; while it sleeps nothing comes this far.
                await self._woken()

    async def _watch(self) -> bool:
        """Watch over one connection. False when there is none to be had."""
        try:
            bus = await asyncio.wait_for(self._connect(), ANSWER_SECONDS)
        except (OSError, EOFError, TimeoutError, AuthError, InvalidAddressError, DBusError) as error:
            log.info("suspend of the machine is not noticed: no D-Bus (%s)", _reason(error))
            return False
        try:
            await self._follow(bus)
        except (DBusError, TimeoutError) as error:
            log.info("suspend of the machine is not noticed: no logind (%s)", _reason(error))
            return False
        except (OSError, EOFError) as error:
            log.warning(
                "the connection to D-Bus is lost (%s); tried again in %.0f s",
                _reason(error),
                self._again_seconds,
            )
            return True
        finally:
            self._let_go()
            bus.disconnect()

    async def _follow(self, bus: MessageBus) -> NoReturn:
        heard: asyncio.Queue[Message | None] = asyncio.Queue()
        bus.add_message_handler(lambda message: heard.put_nowait(message) if _prepares(message) else None)
        rule = f"type='signal',sender='{LOGIND}',interface='{MANAGER}',member='PrepareForSleep',path='{PATH}'"
        await _call(bus, BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", rule)
        # Fails where nobody owns or can be started for the name.
        await _call(bus, LOGIND, PATH, "org.freedesktop.DBus.Peer", "Ping")
        await self._hold(bus)
        lost = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        lost.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (message := await heard.get()) is not None:
                # Any process may send such a signal; one that is not logind is not heeded.
                if message.sender == await _call(
                    bus, BUS, "/org/freedesktop/DBus", BUS, "GetNameOwner", "s", LOGIND
                ):
                    await self._changed(bus, bool(message.body[0]))
            await lost
            raise EOFError("it was closed")
        finally:
            lost.cancel()

    async def _changed(self, bus: MessageBus, sleeping: bool) -> None:
        if not sleeping:
            await self._hold(bus)
            await self._woken()
            return
        log.info("the machine is about to sleep")
        self._asleep = True
        try:
            await asyncio.wait_for(self._before(), BEFORE_SECONDS)
        except TimeoutError:
            log.warning("not everything could be made ready for sleep within %.0f s", BEFORE_SECONDS)
        finally:
            self._let_go()

    async def _woken(self) -> None:
        log.info("the machine is awake again")
        self._asleep = False
        await self._after()

    async def _hold(self, bus: MessageBus) -> None:
        """Take the lock, if it is not held. Without it the signal still comes, and may come too late."""
        if self._lock is not None:
            return
        asked = ("sleep", "parakeetd", "the speech model leaves the GPU", "delay")
        try:
            reply = await _reply(bus, LOGIND, PATH, MANAGER, "Inhibit", "ssss", *asked)
        except (DBusError, TimeoutError) as error:
            log.info("suspend of the machine is noticed but not held up: %s", _reason(error))
            return
        if reply.unix_fds:
            self._lock = reply.unix_fds[0]

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


async def system_bus() -> MessageBus:
    """A connection to the system bus, over which file descriptors come."""
    return await MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect()


def _prepares(message: Message) -> bool:
    return (
        message.message_type is MessageType.SIGNAL
        and message.interface == MANAGER
        and message.member == "PrepareForSleep"
        and message.path == PATH
        and message.signature == "b"
    )


async def _call(
    bus: MessageBus, name: str, path: str, interface: str, member: str, signature: str = "", *body: str
) -> Any:
    """The first value of the answer."""
    reply = await _reply(bus, name, path, interface, member, signature, *body)
    return reply.body[0] if reply.body else None


async def _reply(
    bus: MessageBus, name: str, path: str, interface: str, member: str, signature: str = "", *body: str
) -> Message:
    message = Message(
        destination=name,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=list(body),
    )
    reply = await asyncio.wait_for(bus.call(message), ANSWER_SECONDS)
    if reply is None:
        raise EOFError("no answer")
    if reply.message_type is MessageType.ERROR:
        raise DBusError(reply.error_name or "unknown", str(reply.body[0]) if reply.body else "", reply)
    return reply


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
