"""Audio that a client sends in pieces, in any encoding of the wire or as the bytes of an audio file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from parakeetd.audio import Samples
from parakeetd.audio.container import joined
from parakeetd.audio.pcm import RAW_FORMATS, Encoding, check_channels
from parakeetd.audio.resample import check_rate
from parakeetd.audio.sniff import Kind, sniff
from parakeetd.audio.stages import ContainerStage, RawStage, Stage, WavStage
from parakeetd.errors import AudioError

__all__ = ["ClientAudio", "Encoding"]

MAX_CONTAINER_BYTES: Final = 64 << 20
MAX_CONTAINER_SECONDS: Final = 3600.0
"""Of decoded audio: a few kilobytes of FLAC can hold days of silence."""

_SNIFF_BYTES: Final = 4096
"""Looked at to tell what a stream is. Two MP3 frames, the most that is needed, are shorter."""


class ClientAudio:
    """Turns one client's bytes into mono samples at 16 kHz, as they arrive.

    Raw samples and WAV files are decoded at once; FLAC, Ogg, MP3 and AIFF files are collected and decoded at
    the end.
    """

    def __init__(
        self,
        encoding: Encoding,
        sample_rate: int,
        channels: int,
        *,
        max_container_bytes: int = MAX_CONTAINER_BYTES,
        max_container_seconds: float = MAX_CONTAINER_SECONDS,
    ) -> None:
        """Begin a stream.

        Args:
            encoding: what the client declares. The beginning of a WAV, FLAC or Ogg file is believed more.
            sample_rate: declared, in Hz; 0: not declared, the file's header tells.
            channels: declared, interleaved; 0: not declared, which is one for raw samples.
            max_container_bytes: most bytes that are collected of a file that is decoded at the end.
            max_container_seconds: most audio that such a file may hold.

        Raises:
            AudioError: the sample rate or the number of channels cannot be used; the message names it.
        """
        if sample_rate:
            check_rate(sample_rate)
        if channels:
            check_channels(channels)
        self._encoding = encoding
        self._rate = sample_rate
        self._channels = channels or 1
        self._container = ContainerStage(max_container_bytes, max_container_seconds)
        self._head = bytearray()
        self._stage: Stage | None = None
        self._samples = 0

    def feed(self, data: bytes) -> Samples:
        """Take the next bytes, any number; return the samples [n] that are ready, possibly none.

        Raises:
            AudioError: the bytes cannot be decoded, or a limit is passed.
        """
        if self._stage is None:
            self._head += data
            kind = sniff(bytes(self._head[:_SNIFF_BYTES]), self._encoding, self._rate)
            if kind is None:
                return np.zeros(0, np.float32)
            self._stage = self._stage_for(kind)
            data = bytes(self._head)
            self._head.clear()
        samples = self._stage.feed(data)
        self._samples += len(samples)
        return samples

    @property
    def decodes_at_once(self) -> bool:
        """Whether all but a last few samples have been decoded as they came: nothing is left that takes time."""
        return self._stage is not None and not self._container.holds_any

    def finish(self) -> Samples:
        """Return the tail [n]. Decodes a collected file, which takes its time: not for an event loop.

        Raises:
            AudioError: there was no audio in the stream, its header is cut short, or it cannot be decoded.
        """
        return joined(list(self.ending()))

    def ending(self) -> Iterator[Samples]:
        """The tail in blocks, each decoded when it is asked for.

        Raises:
            AudioError: as `finish`, when the iteration comes to it.
        """
        samples = self._samples
        if self._stage is None:
            if not self._head:
                raise AudioError("the audio is empty: not a single byte came")
            kind = sniff(bytes(self._head), self._encoding, self._rate, ended=True)
            self._stage = self._stage_for(kind or Kind.UNKNOWN)
            head = self._stage.feed(bytes(self._head))
            samples += len(head)
            yield head
        for block in self._stage.finish():
            samples += len(block)
            yield block
        if not samples:
            raise AudioError("the audio is empty: it holds no complete sample")

    def _stage_for(self, kind: Kind) -> Stage:
        match kind:
            case Kind.WAV:
                return WavStage(self._container)
            case Kind.CONTAINER:
                return self._container
            case Kind.RAW:
                if not self._rate:
                    raise AudioError("a sample rate of 0 Hz cannot be used: declare the rate of the samples")
                # A rate without an encoding is taken for the commonest one.
                form = RAW_FORMATS.get(self._encoding, RAW_FORMATS[Encoding.LINEAR_PCM])
                return RawStage(form, self._channels, self._rate)
            case Kind.UNKNOWN:
                raise AudioError(self._unknown())

    def _unknown(self) -> str:
        start = bytes(self._head[:8]).hex(" ")
        if self._encoding is Encoding.UNSPECIFIED:
            return (
                f"the audio begins with the bytes {start}, which is no audio file that is known: "
                "send WAV, FLAC, Ogg or MP3, or declare an encoding and a sample rate"
            )
        return f"the audio begins with the bytes {start}, which is not the declared {self._encoding.value}"
