"""What a stream of bytes is, told from how it begins."""

from __future__ import annotations

from enum import Enum
from typing import Final

from parakeetd.audio.pcm import RAW_FORMATS, Encoding
from parakeetd.audio.wav import is_wav


class Kind(Enum):
    RAW = "raw samples"
    WAV = "WAV"
    CONTAINER = "a compressed file"
    UNKNOWN = "unknown"


_CERTAIN: Final = (b"fLaC", b"OggS")
_AMBIGUOUS: Final = (b"ID3", b"FORM")
"""Looked for only when the client does not say what it sends: short enough to be samples."""

# Source: ISO/IEC 11172-3 and 13818-3, frame header. Layer III only; [MPEG-1, MPEG-2 and 2.5].
_MP3_KBITS: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_MP3_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def sniff(head: bytes, encoding: Encoding, rate: int, *, ended: bool = False) -> Kind | None:
    """What a stream that begins with `head` is; None: more bytes are needed to tell.

    The beginning of a WAV, FLAC or Ogg file is believed more than the declared encoding: clients send such
    files and declare linear PCM. MP3 and AIFF are only looked for when no encoding is declared. `rate` is the
    declared sample rate in Hz, 0 for none: without an encoding it makes the rest raw 16-bit samples. `ended`
    says that no more bytes will come.
    """
    looks: list[tuple[Kind, bool | None]] = [(Kind.WAV, is_wav(head))]
    looks += [(Kind.CONTAINER, _begins(head, magic)) for magic in _CERTAIN]
    if encoding is Encoding.UNSPECIFIED:
        looks += [(Kind.CONTAINER, _begins(head, magic)) for magic in _AMBIGUOUS]
        looks.append((Kind.CONTAINER, is_mp3(head)))
    for kind, found in looks:
        if found:
            return kind
    if ended and looks[0][1] is None and len(head) >= 4:
        return Kind.WAV  # cut off inside its header, which the header's reader then says
    if not ended and any(found is None for _, found in looks):
        return None
    if encoding in RAW_FORMATS or (encoding is Encoding.UNSPECIFIED and rate):
        return Kind.RAW
    return Kind.UNKNOWN


def is_mp3(head: bytes) -> bool | None:
    """Whether `head` begins with two MP3 frames in a row; None: more bytes are needed to tell."""
    if len(head) < 4:
        return None if b"\xff".startswith(head[:1]) else False
    length = _mp3_frame_bytes(head[:4])
    if length is None:
        return False
    second = head[length : length + 4]
    if len(second) < 4:
        return None
    return _mp3_frame_bytes(second) is not None


def _mp3_frame_bytes(header: bytes) -> int | None:
    """Length of the MP3 frame with this four-byte header; None when it is none."""
    sync, version, layer = header[0] << 3 | header[1] >> 5, header[1] >> 3 & 3, header[1] >> 1 & 3
    kbits = _MP3_KBITS[version != 3][header[2] >> 4]
    rate_index, padding = header[2] >> 2 & 3, header[2] >> 1 & 1
    if sync != 0x7FF or version == 1 or layer != 1 or not kbits or rate_index == 3:
        return None
    return (144_000 if version == 3 else 72_000) * kbits // _MP3_RATES[version][rate_index] + padding


def _begins(head: bytes, magic: bytes) -> bool | None:
    if len(head) < len(magic):
        return None if magic.startswith(head) else False
    return head.startswith(magic)
