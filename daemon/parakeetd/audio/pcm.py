"""Raw sample formats: bytes in, float32 [frames, channels] out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from parakeetd.errors import AudioError

Frames = NDArray[np.float32]
"""Decoded samples, shape [frames, channels], full scale 1.0."""

MAX_CHANNELS: Final = 8

LARGEST_SAMPLE: Final = 32_768.0
"""Float samples beyond this, and those that are no number, become silence (see `sane`)."""


class Encoding(Enum):
    """What a client says its bytes are."""

    UNSPECIFIED = "unspecified"
    LINEAR_PCM = "linear pcm"
    """16-bit integers, little-endian."""
    FLOAT32 = "float32"
    """32-bit IEEE floats, little-endian, full scale 1.0."""
    MULAW = "mu-law"
    ALAW = "a-law"
    FLAC = "flac"
    OGG = "ogg"


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """How one sample of one channel is stored."""

    kind: Literal["int", "float", "mulaw", "alaw"]
    bytes: int
    """Bytes per sample: int 1 (unsigned, as in WAV), 2, 3 or 4; float 4 or 8; mu-law and A-law 1."""
    big_endian: bool = False


RAW_FORMATS: Final = {
    Encoding.LINEAR_PCM: SampleFormat("int", 2),
    Encoding.FLOAT32: SampleFormat("float", 4),
    Encoding.MULAW: SampleFormat("mulaw", 1),
    Encoding.ALAW: SampleFormat("alaw", 1),
}
"""The encodings without a header."""


def decode(data: bytes, form: SampleFormat, channels: int) -> Frames:
    """Decode whole frames of interleaved samples, shape [frames, channels].

    Raises:
        ValueError: `data` is not a whole number of frames.
    """
    return _decode_flat(data, form).reshape(-1, channels)


def _decode_flat(data: bytes, form: SampleFormat) -> NDArray[np.float32]:
    order = ">" if form.big_endian else "<"
    match form.kind:
        case "mulaw":
            return _MULAW[np.frombuffer(data, np.uint8)]
        case "alaw":
            return _ALAW[np.frombuffer(data, np.uint8)]
        case "float":
            return sane(np.frombuffer(data, f"{order}f{form.bytes}"))
        case "int" if form.bytes == 1:
            return np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
        case "int" if form.bytes == 3:
            # The three bytes become the upper three of an int32, so that its sign is theirs.
            raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
            wide = np.zeros((len(raw), 4), np.uint8)
            wide[:, slice(0, 3) if form.big_endian else slice(1, 4)] = raw
            return scaled(wide.view(f"{order}i4").reshape(-1))
        case _:
            return scaled(np.frombuffer(data, f"{order}i{form.bytes}"))


def scaled(samples: NDArray[np.signedinteger]) -> NDArray[np.float32]:
    """Integers of full scale as float32 of full scale 1.0, any shape."""
    return samples.astype(np.float32) / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))


def sane(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """Float samples as float32, any shape; NaN, infinities and values beyond `LARGEST_SAMPLE` become 0.

    One such value would turn the normalised features of a whole segment into NaN, and its text into nothing.
    Programs that scale silence by its own peak send them, so they stand for silence rather than for an error.
    """
    # The comparison is false for NaN; it comes before the conversion, where a large float64 would overflow.
    return np.where(np.abs(samples) <= LARGEST_SAMPLE, samples, 0).astype(np.float32, copy=False)


def mono(frames: Frames) -> NDArray[np.float32]:
    """The mean of 1 to 8 channels, shape [frames].

    Raises:
        AudioError: there are more channels than that, or none.
    """
    check_channels(frames.shape[1])
    if frames.shape[1] == 1:
        return np.ascontiguousarray(frames[:, 0])
    return np.asarray(frames.mean(axis=1, dtype=np.float32))


def check_channels(channels: int) -> None:
    """Raise AudioError unless there are 1 to `MAX_CHANNELS` channels."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{channels} channels of audio cannot be used: send 1 to {MAX_CHANNELS}")


class Decoder:
    """Decodes a byte stream that is cut anywhere: the bytes of an incomplete frame wait for the next call."""

    def __init__(self, form: SampleFormat, channels: int) -> None:
        self._form = form
        self._channels = channels
        self._frame_bytes = form.bytes * channels
        self._rest = b""

    def feed(self, data: bytes) -> Frames:
        """All frames that are complete, possibly none."""
        data = self._rest + data
        whole = len(data) - len(data) % self._frame_bytes
        self._rest = data[whole:]
        return decode(data[:whole], self._form, self._channels)


def _mulaw_table() -> NDArray[np.float32]:
    """The 256 values of mu-law. Source: ITU-T G.711 (11/88), table 2, in steps of 2^-15."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    segment, step = code >> 4 & 7, code & 15
    magnitude = ((step << 3) + 132 << segment) - 132
    return scaled(np.where(code & 0x80, -magnitude, magnitude).astype(np.int16))


def _alaw_table() -> NDArray[np.float32]:
    """The 256 values of A-law. Source: ITU-T G.711 (11/88), table 1, in steps of 2^-15."""
    code = np.arange(256, dtype=np.int32) ^ 0x55  # every other bit is inverted on the line
    segment, step = code >> 4 & 7, code & 15
    magnitude = np.where(segment, (step << 4) + 264 << np.maximum(segment - 1, 0), (step << 4) + 8)
    return scaled(np.where(code & 0x80, magnitude, -magnitude).astype(np.int16))


_MULAW: Final = _mulaw_table()
_ALAW: Final = _alaw_table()
