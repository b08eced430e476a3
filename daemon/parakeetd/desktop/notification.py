"""One notification of the desktop's whose text changes while it is shown (Desktop Notifications Specification 1.2)."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, DBusError, InvalidAddressError

NAME: Final = "org.freedesktop.Notifications"
PATH: Final = "/org/freedesktop/Notifications"

ANSWER_SECONDS: Final = 5.0

SHOWN_MS: Final = 10_000
"""It goes by itself after so long without a change: also when we were killed."""

_BROKEN: Final = (OSError, EOFError, TimeoutError, AuthError, InvalidAddressError, DBusError)


class Notification:
    """Nobody waits for it: of texts that come faster than they can be shown, the last is. What does not work is told
    once, and then no more is tried."""

    def __init__(self, address: str | None, title: str, tell: Callable[[str], None]) -> None:
        """
        Args:
            address: of the session's bus; None where there is none.
            tell: told in a line why there is no notification.
        """
        self._address = address
        self._title = title
        self._tell = tell
        self._text = ""
        """What is to be seen; empty for nothing."""
        self._changed = asyncio.Event()
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    def show(self, text: str) -> None:
        """Have this text shown; an empty one takes the notification away."""
        if text == self._text or self._ended:
            return
        self._text = text
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Take it away."""
        self.show("")
        self._ended = True
        self._changed.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            if self._address is None:
                raise EOFError("there is no D-Bus session")
            bus = await asyncio.wait_for(MessageBus(bus_address=self._address).connect(), ANSWER_SECONDS)
            try:
                await self._keep(bus)
            finally:
                bus.disconnect()
        except _BROKEN as error:
            self._ended = True
            reason = " ".join(str(error).split()) or type(error).__name__
            self._tell(f"no notification is shown: {reason}")

    async def _keep(self, bus: MessageBus) -> None:
        """Show what is to be seen, until the end."""
        markup = "body-markup" in await _call(bus, "GetCapabilities")
        number, shown = 0, ""
        while not self._ended or self._text != shown:
            await self._changed.wait()
            self._changed.clear()
            if (text := self._text) == shown:
                continue
            if text:
                body = html.escape(text, quote=False) if markup else text
                hints = {"transient": Variant("b", True), "suppress-sound": Variant("b", True)}
                number = await _call(
                    bus, "Notify", "susssasa{sv}i",
                    "parakeetd", number, "audio-input-microphone", self._title, body, [], hints, SHOWN_MS,
                )  # fmt: skip
            elif number:
                # One that went by itself, or that somebody closed, cannot be closed again.
                with suppress(DBusError):
                    await _call(bus, "CloseNotification", "u", number)
                number = 0
            shown = text


async def _call(bus: MessageBus, member: str, signature: str = "", *body: object) -> Any:
    """The first value of the answer."""
    asked = Message(
        destination=NAME, path=PATH, interface=NAME, member=member, signature=signature, body=list(body)
    )
    reply = await asyncio.wait_for(bus.call(asked), ANSWER_SECONDS)
    if reply is None:
        raise EOFError("no answer")
    if reply.message_type is MessageType.ERROR:
        raise DBusError(reply.error_name or "unknown", str(reply.body[0]) if reply.body else "", reply)
    return reply.body[0] if reply.body else None
