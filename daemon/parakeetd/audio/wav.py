"""The header of a WAV file, read from the first bytes of a stream.

Layout: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF, RIFX) and
"WAVEFORMATEXTENSIBLE"; EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

from parakeetd.audio.pcm import SampleFormat, check_channels
from parakeetd.audio.resample import check_rate
from parakeetd.errors import AudioError

MAX_HEADER_BYTES: Final = 1 << 20
"""Pictures and cue lists may precede the audio, but not more of them than this."""

_MAGICS: Final = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_EXTENSIBLE: Final = 0xFFFE
_KINDS: Final[dict[int, tuple[Literal["int", "float", "mulaw", "alaw"], tuple[int, ...]]]] = {
    1: ("int", (1, 2, 3, 4)),
    3: ("float", (4, 8)),
    6: ("alaw", (1,)),
    7: ("mulaw", (1,)),
}
"""Format tag -> kind of sample and the sizes (bytes) it comes in."""
_UNKNOWN_SIZES: Final = (0, 0xFFFFFFFF)
"""Written by programs that did not know the length when they wrote the header."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    form: SampleFormat
    channels: int
    rate: int
    """Hz."""
    data_offset: int
    """Bytes before the first sample."""
    data_bytes: int | None
    """Bytes of samples; None: until the stream ends."""


class UnknownWavFormat(AudioError):
    """A WAV file whose samples are compressed in a way that is not decoded here."""


def is_wav(head: bytes) -> bool | None:
    """Whether a stream that begins with `head` is a WAV file; None: more bytes are needed to tell."""
    if not any(magic.startswith(head[:4]) for magic in _MAGICS):
        return False
    if len(head) < 12:
        return None
    return head[8:12] == b"WAVE"


def parse(head: bytes) -> WavHeader | None:
    """The header of the WAV file that begins with `head`; None: it is not complete yet.

    Raises:
        UnknownWavFormat: the samples are compressed.
        AudioError: the header is damaged, too long, or says something that cannot be.
    """
    order = ">" if head[:4] == b"RIFX" else "<"
    offset, form, long_size = 12, b"", None
    while offset + 8 <= len(head):
        name, size = head[offset : offset + 4], struct.unpack_from(f"{order}I", head, offset + 4)[0]
        body = offset + 8
        if name == b"data":
            if not form:
                raise AudioError("the WAV header is damaged: the audio comes before its format")
            return _header(form, order, body, _data_bytes(size, long_size))
        if body + size > MAX_HEADER_BYTES:
            raise AudioError(
                f"the WAV header is damaged or longer than {MAX_HEADER_BYTES} bytes: "
                f"its part {name.decode('latin-1')!r} has {size}"
            )
        if body + size > len(head):
            return None
        if name == b"fmt ":
            form = head[body : body + size]
        elif name == b"ds64" and size >= 16:
            long_size = struct.unpack_from(f"{order}Q", head, body + 8)[0]
        offset = body + size + size % 2
    return None


def _data_bytes(size: int, long_size: int | None) -> int | None:
    if size == 0xFFFFFFFF and long_size:
        return long_size
    return None if size in _UNKNOWN_SIZES else size


def _header(form: bytes, order: str, data_offset: int, data_bytes: int | None) -> WavHeader:
    if len(form) < 16:
        raise AudioError(f"the WAV header is damaged: its format part has {len(form)} bytes, not 16")
    tag, channels, rate, _, frame_bytes, _ = struct.unpack_from(f"{order}HHIIHH", form)
    if tag == _EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack_from(f"{order}H", form, 24)
    check_channels(channels)
    check_rate(rate)
    if tag not in _KINDS:
        raise UnknownWavFormat(f"WAV format {tag:#06x} is not supported: send PCM, float, mu-law or A-law")
    kind, sizes = _KINDS[tag]
    # Not from the bits per sample: 20 or 24 valid bits may be stored in 4 bytes, at their upper end.
    sample_bytes, odd = divmod(frame_bytes, channels)
    if odd or sample_bytes not in sizes:
        raise AudioError(f"the WAV header is damaged: {channels} {kind} samples in {frame_bytes} bytes")
    return WavHeader(SampleFormat(kind, sample_bytes, order == ">"), channels, rate, data_offset, data_bytes)
