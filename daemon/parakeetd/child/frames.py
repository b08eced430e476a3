"""Messages over a socket between a process and its child: a JSON object, and samples behind it.

A frame is two lengths (32 bit, in the byte order of the network), the object as UTF-8, and raw float32 samples in the
byte order of the machine. Both ends are ours and of the same version, so nothing needs to be negotiated; what does not
fit is an error, never something to guess at.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from parakeetd.audio import Samples

_LENGTHS: Final = struct.Struct("!II")

MOST_JSON: Final = 64 << 20
"""Bytes; thousands of phrases take less than one megabyte."""

_MOST_PARTS: Final = 512
"""Buffers of one call; Linux takes 1024."""


class FrameError(Exception):
    """What came is no frame."""


class Ended(Exception):
    """The other side has closed the connection, or has died."""


@dataclass(frozen=True, slots=True)
class Frame:
    fields: Mapping[str, Any]
    samples: Samples
    """[n] float32, empty where the message has none."""


def send(connection: socket.socket, fields: Mapping[str, Any], pieces: Sequence[Samples] = ()) -> None:
    """Send one frame.

    Args:
        pieces: samples, sent one after the other; the fields have to say where each ends.

    Raises:
        Ended: nobody is there to read it.
    """
    text = json.dumps(fields).encode()
    count = sum(len(piece) for piece in pieces)
    parts = [memoryview(_LENGTHS.pack(len(text), count) + text)]
    parts += [np.ascontiguousarray(piece, np.float32).data.cast("B") for piece in pieces if len(piece)]
    try:
        # As few calls as there can be: after each the thread waits for the interpreter, which serves all streams.
        while parts:
            sent = connection.sendmsg(parts[:_MOST_PARTS])
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if sent:
                parts[0] = parts[0][sent:]
    except (BrokenPipeError, ConnectionError) as error:
        raise Ended from error


def receive(connection: socket.socket) -> Frame:
    """The next frame; waits for it.

    Raises:
        Ended: there is none.
        FrameError: what came is no frame.
        TimeoutError: it did not come within the connection's time-out.
    """
    length, count = _LENGTHS.unpack(_exactly(connection, _LENGTHS.size))
    if length > MOST_JSON:
        raise FrameError(f"a message of {length} bytes")
    try:
        fields = json.loads(_exactly(connection, length))
    except ValueError as error:
        raise FrameError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise FrameError(f"not an object: {type(fields).__name__}")
    return Frame(fields, np.frombuffer(_exactly(connection, 4 * count), np.float32))


def _exactly(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while len(view):
        try:
            got = connection.recv_into(view)
        except ConnectionError as error:
            raise Ended from error
        if not got:
            raise Ended
        view = view[got:]
    return data
