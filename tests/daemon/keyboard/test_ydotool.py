"""The real ydotool, before 1.0, with a ydotoold that notes down the keys instead of pressing them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parakeetd.errors import TypingError
from parakeetd.keyboard import Session, ways_of

SOCKET = Path("/tmp/.ydotool_socket")
"""Where those versions look for it, and nowhere else."""

EVENT = struct.Struct("<HHi")
KEY = 1
"""Of linux/input-event-codes.h, as are these:"""
CODES = {14: "\b", 15: "\t", 28: "\n", 57: " ", 30: "a", 48: "b", 46: "c", 12: "-", 2: "1"}
SHIFT = 42
SHIFTED = {"a": "A", "b": "B", "c": "C", "-": "_", "1": "!"}


class Keys:
    """What has been pressed."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.text = ""

    async def read(self, calls: int) -> str:
        """What the next calls of the tool press."""
        self.text = ""
        for _ in range(calls):
            await asyncio.to_thread(self._one)
        return self.text

    def _one(self) -> None:
        client, _ = self._server.accept()
        data, shift = b"", False
        with client:
            while part := client.recv(65536):
                data += part
        for kind, code, value in EVENT.iter_unpack(data):
            if kind == KEY and code == SHIFT:
                shift = bool(value)
            elif kind == KEY and value:
                sign = CODES[code]
                self.text += SHIFTED[sign] if shift else sign


@pytest.fixture
def keys() -> Iterator[Keys]:
    if not shutil.which("ydotool"):
        pytest.skip("ydotool is missing: apt-get install ydotool")
    if "recorder" not in subprocess.run(["ydotool", "help"], capture_output=True, text=True).stderr:
        pytest.skip("this ydotool is not one before 1.0")
    if SOCKET.exists():
        pytest.skip(f"there is a real ydotoold at {SOCKET}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(SOCKET))
        server.settimeout(30)
        server.listen()
        try:
            yield Keys(server)
        finally:
            SOCKET.unlink()


async def test_texts_and_backspaces_become_the_keys_of_a_keyboard(keys: Keys) -> None:
    (way,) = ways_of(Session(), ("ydotool",))
    for added in ("ab Cab", "\b\b\b--a", "\n\t1!_"):
        # The check types nothing, and then there is a call for each run of signs.
        pressed = asyncio.create_task(keys.read(1))
        await way.check()
        assert await pressed == ""
        pressed = asyncio.create_task(keys.read(2 if "\b" in added else 1))
        await way.type(added)
        assert await pressed == added


async def test_signs_that_a_us_keyboard_lacks_are_refused_before_anything_is_pressed(keys: Keys) -> None:
    (way,) = ways_of(Session(), ("ydotool",))
    with pytest.raises(TypingError, match="US keyboard"):
        await way.type("ab ä")
