"""The three ways of decoding a stream that is known: raw samples, WAV, a compressed file."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
import soundfile

from parakeetd.audio import SAMPLE_RATE, Samples, wav
from parakeetd.audio.container import SequentialFile, decoded, describe
from parakeetd.audio.pcm import Decoder, SampleFormat, mono
from parakeetd.audio.resample import Resampler
from parakeetd.errors import AudioError, TooLong

_log = logging.getLogger(__name__)

_UNKNOWN_SECONDS: Final = 1e9
"""libsndfile gives a length of 2^63 frames where it knows none."""

_EMPTY: Final[Samples] = np.zeros(0, np.float32)


class Stage(Protocol):
    def feed(self, data: bytes) -> Samples:
        """Take the next bytes; return the mono samples at 16 kHz that are ready, possibly none."""
        ...

    def finish(self) -> Iterator[Samples]:
        """The tail, in blocks. Called once, at the end."""
        ...


class RawStage:
    """Interleaved samples without a header."""

    def __init__(self, form: SampleFormat, channels: int, rate: int) -> None:
        """Raises AudioError for a `rate` (Hz) that cannot be used."""
        self._decoder = Decoder(form, channels)
        self._resampler = Resampler(rate)

    def feed(self, data: bytes) -> Samples:
        return self._resampler.feed(mono(self._decoder.feed(data)))

    def finish(self) -> Iterator[Samples]:
        yield self._resampler.finish()


class _Bytes(io.BytesIO):
    """What libsndfile reads. Damaged files send it to places before the beginning: it stays where it is, which tells
    libsndfile enough. An exception could not pass through it, and would be printed with its traceback."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class ContainerStage:
    """A file that can only be decoded when it is complete.

    Args:
        max_bytes: most bytes that are collected.
        max_seconds: most audio that the file may hold.
    """

    def __init__(self, max_bytes: int, max_seconds: float) -> None:
        self._data = bytearray()
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    @property
    def holds_any(self) -> bool:
        """Whether there is anything to be decoded at the end."""
        return bool(self._data)

    def feed(self, data: bytes) -> Samples:
        if len(self._data) + len(data) > self._max_bytes:
            raise TooLong(
                f"the compressed audio is longer than the limit of {self._max_bytes} bytes: "
                "send it in parts, or stream it as WAV, which has no limit"
            )
        self._data += data
        return _EMPTY

    def finish(self) -> Iterator[Samples]:
        # Decoded as it is wanted: an hour is 230 MB of samples.
        samples = 0
        try:
            with SequentialFile(_Bytes(self._data)) as file:
                # What the header announces may be wrong, and is huge where it is not known.
                if self._max_seconds < file.frames / max(1, file.samplerate) < _UNKNOWN_SECONDS:
                    raise self._too_long()
                for block in decoded(file, "the audio of a stream"):
                    samples += len(block)
                    if samples > self._max_seconds * SAMPLE_RATE:
                        raise self._too_long()
                    yield block
        except soundfile.LibsndfileError as error:
            raise AudioError(f"the audio is damaged or cut short: {describe(error)}") from error

    def _too_long(self) -> TooLong:
        return TooLong(
            f"the compressed audio is longer than the limit of {self._max_seconds:g} s: "
            "send it in parts, or stream it as WAV, which has no limit"
        )


class WavStage:
    """A WAV file: its header, then samples, then parts that are not audio."""

    def __init__(self, fallback: Stage) -> None:
        """Begin; a file whose samples are compressed goes to `fallback`, whole."""
        self._head = bytearray()
        self._fallback = fallback
        self._audio: Stage | None = None
        self._left: int | None = None

    def feed(self, data: bytes) -> Samples:
        if self._audio is None:
            self._head += data
            try:
                header = wav.parse(bytes(self._head))
            except wav.UnknownWavFormat as error:
                _log.debug("decoding a stream when it is complete: %s", error)
                self._audio, data = self._fallback, bytes(self._head)
            else:
                if header is None:
                    return _EMPTY
                self._audio = RawStage(header.form, header.channels, header.rate)
                self._left, data = header.data_bytes, bytes(self._head[header.data_offset :])
            self._head.clear()
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return self._audio.feed(data)

    def finish(self) -> Iterator[Samples]:
        if self._audio is None:
            raise AudioError(f"the WAV header is cut short: the audio ends after {len(self._head)} bytes")
        return self._audio.finish()
