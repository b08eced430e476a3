"""A notification whose text changes, at python-dbusmock's notification daemon."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast.aio import MessageBus

from logind import Bus, private_bus, python_with_dbusmock
from parakeetd.desktop.notification import NAME, Notification

TRIES = 600
"""Twenty in a second."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with private_bus(tmp_path) as bus:
        yield bus


class Desktop:
    """What the desktop was asked for."""

    def __init__(self, address: str, file: Path) -> None:
        self._address = address
        self._file = file

    def calls(self) -> list[str]:
        """Without the time that the mock puts before each."""
        lines = self._file.read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if " Notify " in line or "CloseNotification" in line]

    async def there(self) -> None:
        bus = await MessageBus(bus_address=self._address).connect()
        asked = ("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s", NAME)
        for _ in range(TRIES):
            if (await Bus(bus).call(*asked)).body[0]:
                break
            await asyncio.sleep(0.05)
        bus.disconnect()

    async def until(self, *wanted: str) -> str:
        """The first call that has all of this in it."""
        for _ in range(TRIES):
            for call in self.calls():
                if all(part in call for part in wanted):
                    return call
            await asyncio.sleep(0.05)
        raise AssertionError(f"no {wanted} in {self.calls()}")


@pytest.fixture
def desktop(address: str, tmp_path: Path) -> Iterator[Desktop]:
    command = [python_with_dbusmock(), "-m", "dbusmock", "--template", "notification_daemon"]
    env = {"DBUS_SESSION_BUS_ADDRESS": address, "PATH": "/usr/bin:/bin"}
    file = tmp_path / "calls"
    with file.open("wb") as out, subprocess.Popen([*command, "--logfile", file], env=env, stdout=out) as mock:
        try:
            yield Desktop(address, file)
        finally:
            mock.terminate()


async def test_texts_replace_each_other_in_one_notification_that_is_closed_in_the_end(
    address: str, desktop: Desktop
) -> None:
    await desktop.there()
    notification = Notification(address, "Dictation", pytest.fail)
    for text in ("one", "one two", "one two three"):
        notification.show(text)
        await desktop.until("Notify", f'"{text}"')
    await notification.close()
    numbers = [call.split()[2] for call in desktop.calls() if call.startswith("Notify")]
    assert numbers == ["0", "1", "1"]
    assert desktop.calls()[-1] == "CloseNotification 1"


async def test_of_texts_that_come_faster_than_they_are_shown_the_last_is_shown(
    address: str, desktop: Desktop
) -> None:
    await desktop.there()
    notification = Notification(address, "Dictation", pytest.fail)
    for number in range(1000):
        notification.show(f"text {number}")
    await desktop.until('"text 999"')
    assert len(desktop.calls()) < 1000
    await notification.close()


async def test_what_was_said_is_no_markup(address: str, desktop: Desktop) -> None:
    await desktop.there()
    notification = Notification(address, "Dictation", pytest.fail)
    notification.show("<b>a & b")
    await desktop.until('"&lt;b&gt;a &amp; b"')
    await notification.close()


async def test_a_next_session_has_a_notification_again(address: str, desktop: Desktop) -> None:
    await desktop.there()
    notification = Notification(address, "Dictation", pytest.fail)
    notification.show("one")
    await desktop.until("Notify", '"one"')
    notification.show("")
    await desktop.until("CloseNotification 1")
    notification.show("two")
    assert (await desktop.until("Notify", '"two"')).split()[2] == "0"
    await notification.close()


@pytest.mark.parametrize("bus", [True, False])
async def test_without_a_notification_daemon_that_is_told_once(address: str, bus: bool) -> None:
    told: list[str] = []
    notification = Notification(address if bus else None, "Dictation", told.append)
    for text in ("one", "two", ""):
        notification.show(text)
        await asyncio.sleep(0.05)
    await notification.close()
    (line,) = told
    assert line.startswith("no notification is shown: ")
    assert ("org.freedesktop.Notifications" in line) if bus else ("no D-Bus session" in line)


async def test_nothing_is_asked_of_the_desktop_where_nothing_was_said(tmp_path: Path) -> None:
    notification = Notification(f"unix:path={tmp_path}/no-bus", "Dictation", pytest.fail)
    notification.show("")
    await notification.close()
