"""As much of a WebSocket client (RFC 6455) as a benchmark needs: open, send one message, receive one, close."""

from __future__ import annotations

import asyncio
import base64
import secrets

import numpy as np

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocketFailed(Exception):
    """The server refused the connection or closed it."""


class WebSocket:
    """A connection. One task may send while another receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> WebSocket:
        """
        Raises:
            OSError: nobody listens there.
            WebSocketFailed: no WebSocket server listens there.
        """
        reader, writer = await asyncio.open_connection(host, port)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        lines = (
            "GET / HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer.split(b"\r\n", 1)[0]:
            raise WebSocketFailed(f"{host}:{port} answered {answer[:60]!r}")
        return cls(reader, writer)

    async def send(self, payload: bytes, kind: int = BINARY) -> None:
        self._writer.write(frame(payload, kind, secrets.token_bytes(4)))
        await self._writer.drain()

    async def receive(self) -> bytes:
        """The next message.

        Raises:
            WebSocketFailed: the server closed the connection.
        """
        message = b""
        while True:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8))
            payload = await self._reader.readexactly(size)
            kind = first & 0x0F
            if kind == CLOSE:
                raise WebSocketFailed(f"closed: {payload[2:].decode(errors='replace')}")
            if kind == PING:
                await self.send(payload, PONG)
            elif kind != PONG:
                message += payload
                if first & 0x80:
                    return message

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def frame(payload: bytes, kind: int, mask: bytes) -> bytes:
    """A whole message in one masked frame, as clients send it."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0x80 | 126]) + size.to_bytes(2)
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8)
    masked = np.frombuffer(payload, np.uint8) ^ np.resize(np.frombuffer(mask, np.uint8), size)
    return bytes([0x80 | kind]) + length + mask + masked.tobytes()
