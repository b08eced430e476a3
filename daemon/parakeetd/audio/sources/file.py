"""Audio files, and arrays that a Python program already holds."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from parakeetd.audio import SAMPLE_RATE, Samples, wav
from parakeetd.audio.container import SequentialFile, decoded, describe, joined
from parakeetd.audio.pcm import Encoding, check_channels, mono, sane, scaled
from parakeetd.audio.resample import resample
from parakeetd.audio.sources.client import ClientAudio
from parakeetd.errors import AudioError

_log = logging.getLogger(__name__)

_READ_BYTES: Final = 1 << 16
_WAV_MAGIC_BYTES: Final = 12


def read_audio(path: Path) -> Samples:
    """All samples [n] of an audio file, mono at 16 kHz.

    Reads what libsndfile reads: WAV, FLAC, Ogg, MP3, AIFF and others; also from a pipe. Of a file that is cut
    short or damaged after its beginning, what can be decoded, with a warning in the log.

    Raises:
        AudioError: the file cannot be opened or decoded, or holds no audio; the message names it.
    """
    return joined(list(_blocks(path)))


def audio_blocks(path: Path, seconds_per_block: float) -> Iterator[Samples]:
    """The samples of `read_audio` in blocks of this length, the last one shorter.

    Raises:
        AudioError: as `read_audio`, when the iteration comes to it.
    """
    size = max(1, round(seconds_per_block * SAMPLE_RATE))
    held: list[Samples] = []
    for block in _blocks(path):
        held.append(block)
        if sum(map(len, held)) >= size:
            samples = joined(held)
            whole = len(samples) - len(samples) % size
            yield from np.split(samples[:whole], range(size, whole, size))
            held = [samples[whole:]]
    if len(rest := joined(held)):
        yield rest


def to_samples(array: NDArray[Any], sample_rate: int) -> Samples:
    """Samples of a NumPy array as mono at 16 kHz.

    Args:
        array: shape [n] or [n, channels]; int16 and int32 of their full scale, float32 and float64 of 1.0.
        sample_rate: Hz.

    Raises:
        AudioError: the shape, type, rate or number of channels cannot be used, or the array is empty.
    """
    shape = list(array.shape)
    if array.ndim not in (1, 2):
        raise AudioError(f"an array of shape {shape} cannot be used: pass [samples] or [samples, channels]")
    frames = array.reshape(len(array), -1) if array.size else array.reshape(-1, 1)
    if not len(frames):
        raise AudioError("the audio is empty: the array holds no sample")
    if frames.shape[1] > len(frames):
        raise AudioError(f"an array of shape {shape} is taken for [samples, channels]: transpose it")
    check_channels(frames.shape[1])
    if array.dtype in (np.int16, np.int32):
        return resample(mono(scaled(frames)), sample_rate)
    if array.dtype in (np.float32, np.float64):
        return resample(mono(sane(frames)), sample_rate)
    raise AudioError(f"samples of type {array.dtype} cannot be used: pass int16, int32, float32 or float64")


def _blocks(path: Path) -> Iterator[Samples]:
    """The file as mono blocks at 16 kHz of varying lengths; every AudioError names the file."""
    samples = 0
    try:
        # Unbuffered: libsndfile takes the descriptor, whose position a buffer would not follow.
        with path.open("rb", buffering=0) as file:
            for block in _source(path, file):
                samples += len(block)
                yield block
        if not samples:
            raise AudioError("the audio is empty: it holds no complete sample")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror or error}") from error
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error


def _source(path: Path, file: BinaryIO) -> Iterator[Samples]:
    """The decoder for this file. Pipes and WAV files are streams; libsndfile takes the rest."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return _streamed(file)
    if not found.st_size:
        raise AudioError("the file is empty")
    head = file.read(_WAV_MAGIC_BYTES)
    if wav.is_wav(head) is False:
        return _from_libsndfile(path, file)
    try:
        header = wav.parse(head + file.read(wav.MAX_HEADER_BYTES))
    except wav.UnknownWavFormat:
        return _from_libsndfile(path, file)
    if header and header.data_bytes:
        missing = header.data_offset + header.data_bytes - found.st_size
        if missing > 0:
            _log.warning("%s is cut short: %d of %d bytes are missing", path, missing, header.data_bytes)
    file.seek(0)
    return _streamed(file)


def _streamed(file: BinaryIO) -> Iterator[Samples]:
    audio = ClientAudio(Encoding.UNSPECIFIED, 0, 0)
    while data := file.read(_READ_BYTES):
        yield audio.feed(data)
    yield audio.finish()


def _from_libsndfile(path: Path, file: BinaryIO) -> Iterator[Samples]:
    file.seek(0)
    try:
        # By descriptor: a name that ends in .raw would be taken for samples without a header.
        with SequentialFile(file.fileno(), closefd=False) as sound:
            yield from decoded(sound, str(path))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"not audio, or damaged at its beginning: {describe(error)}") from error
