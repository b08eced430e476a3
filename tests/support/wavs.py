"""Makes WAV files byte by byte, for headers that no library writes."""

from __future__ import annotations

import struct


def chunk(name: bytes, body: bytes, *, size: int | None = None, order: str = "<") -> bytes:
    """A RIFF chunk; `size` overrides the length it states."""
    stated = len(body) if size is None else size
    return name + struct.pack(f"{order}I", stated) + body + b"\0" * (len(body) % 2)


def fmt(tag: int, channels: int, rate: int, bits: int, *, order: str = "<", extension: bytes = b"") -> bytes:
    frame = channels * bits // 8
    body = struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * frame % 2**32, frame, bits) + extension
    return chunk(b"fmt ", body, order=order)


def extensible(tag: int, channels: int, rate: int, bits: int, valid_bits: int) -> bytes:
    guid_tail = bytes.fromhex("000000001000800000aa00389b71")
    extension = struct.pack("<HHIH", 22, valid_bits, 0, tag) + guid_tail
    return fmt(0xFFFE, channels, rate, bits, extension=extension)


def wav(*chunks: bytes, magic: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    order = ">" if magic == b"RIFX" else "<"
    return magic + struct.pack(f"{order}I", len(body)) + body
