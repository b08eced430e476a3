"""A logind that is not one, on a bus of its own: python-dbusmock's, which others test their programs with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

LOGIND = "org.freedesktop.login1"
MANAGER = "org.freedesktop.login1.Manager"
PATH = "/org/freedesktop/login1"

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:dir={folder}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/>
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy>
</busconfig>
"""


def python_with_dbusmock() -> str:
    """A Python that has the module; Debian's package is for Debian's Python. Skips where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        if Path(python).exists():
            found = subprocess.run([python, "-c", "import dbusmock"], capture_output=True, check=False)
            if found.returncode == 0:
                return python
    pytest.skip("python-dbusmock is missing: apt-get install python3-dbusmock")


@contextmanager
def private_bus(folder: Path) -> Iterator[str]:
    """The address of a D-Bus daemon with nobody on it."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is missing: apt-get install dbus-daemon")
    file = folder / "bus.conf"
    file.write_text(CONFIGURATION.format(folder=folder))
    command = ["dbus-daemon", f"--config-file={file}", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            yield (daemon.stdout.readline() if daemon.stdout else "").strip()
        finally:
            daemon.terminate()


@contextmanager
def mocked_logind(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """The process that owns logind's name on this bus, some time soon."""
    command = [python_with_dbusmock(), "-m", "dbusmock", "--template", "logind"]
    env = {"DBUS_SYSTEM_BUS_ADDRESS": address, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as mock:
        try:
            yield mock
        finally:
            mock.terminate()


@dataclass
class Bus:
    """A test's own connection to the bus."""

    connection: MessageBus

    @classmethod
    async def at(cls, address: str) -> Bus:
        return cls(await MessageBus(bus_address=address, negotiate_unix_fd=True).connect())

    async def call(
        self, name: str, path: str, interface: str, member: str, signature: str = "", *body: object
    ) -> Message:
        asked = Message(
            destination=name,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        reply = await self.connection.call(asked)
        assert reply is not None
        return reply

    async def there_is_logind(self) -> bool:
        reply = await self.call(
            "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s", LOGIND
        )
        return bool(reply.body[0])

    async def inhibitors(self) -> list[tuple[str, str, str]]:
        """What is inhibited, by whom and how."""
        reply = await self.call(LOGIND, PATH, MANAGER, "ListInhibitors")
        return [(what, who, mode) for what, who, _, mode, _, _ in reply.body[0]]

    async def tell(self, sleeping: bool) -> None:
        """Have logind say that the machine is about to sleep, or is awake."""
        mock, values = "org.freedesktop.DBus.Mock", [Variant("b", sleeping)]
        said = (MANAGER, "PrepareForSleep", "b", values)
        reply = await self.call(LOGIND, PATH, mock, "EmitSignal", "sssav", *said)
        assert reply.message_type is not MessageType.ERROR, reply.body

    async def pretend(self, receiver: str, sleeping: bool) -> None:
        """Say so without being logind."""
        signal = Message(
            message_type=MessageType.SIGNAL,
            destination=receiver,
            path=PATH,
            interface=MANAGER,
            member="PrepareForSleep",
            signature="b",
            body=[sleeping],
        )
        await self.connection.send(signal)
