"""Audio files that libsndfile reads, decoded block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import soundfile

from parakeetd.audio import Samples
from parakeetd.audio.pcm import check_channels, mono, sane
from parakeetd.audio.resample import Resampler, check_rate
from parakeetd.errors import AudioError

_log = logging.getLogger(__name__)

_READ_FRAMES = 4096
"""Frames per read: when a file is cut short, up to one read's worth before the cut is lost with it."""


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no annotations
    """A file that is read from its beginning to its end.

    soundfile seeks after every read of a seekable file, to where it already is. An MP3 decoder then loses its
    memory of the preceding frames, and what it decodes next is wrong.
    """

    def seekable(self) -> bool:
        return False


def describe(error: soundfile.LibsndfileError) -> str:
    """libsndfile's reason, without the file's name and the full stop."""
    return str(error.error_string).removeprefix("Error : ").rstrip(". ")


def decoded(file: SequentialFile, name: str) -> Iterator[Samples]:
    """The file as mono blocks at 16 kHz, of varying lengths.

    A file that is cut short or damaged somewhere gives what can be decoded before that, with a warning in the
    log.

    Raises:
        AudioError: its sample rate or number of channels cannot be used, or nothing of it can be decoded. The
            message does not begin with `name`, which is for the log.
    """
    check_channels(file.channels)
    check_rate(file.samplerate)
    resampler = Resampler(file.samplerate)
    announced, frames, damage = file.frames, 0, ""
    while True:
        try:
            block = file.read(_READ_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            damage = describe(error)
            break
        if not len(block):
            break
        frames += len(block)
        yield resampler.feed(mono(sane(block)))
    if damage and not frames:
        raise AudioError(f"the audio is damaged or cut short: {damage}")
    if damage or frames < announced:
        _log.warning(
            "%s is damaged or cut short: using the first %.2f s%s",
            name,
            frames / file.samplerate,
            f" ({damage})" if damage else "",
        )
    yield resampler.finish()


def joined(blocks: Sequence[Samples]) -> Samples:
    """All blocks in one array."""
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
