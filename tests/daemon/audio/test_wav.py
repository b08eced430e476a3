from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from parakeetd.audio.pcm import SampleFormat
from parakeetd.audio.wav import MAX_HEADER_BYTES, UnknownWavFormat, WavHeader, is_wav, parse
from parakeetd.errors import AudioError
from wavs import chunk, extensible, fmt, wav

PCM16 = fmt(1, 1, 16000, 16)
DATA = chunk(b"data", b"\1\2" * 50)


def parsed(data: bytes) -> WavHeader:
    header = parse(data)
    assert header is not None
    return header


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (fmt(1, 1, 8000, 8), SampleFormat("int", 1)),
        (fmt(1, 2, 44100, 16), SampleFormat("int", 2)),
        (fmt(1, 6, 48000, 24), SampleFormat("int", 3)),
        (fmt(1, 1, 96000, 32), SampleFormat("int", 4)),
        (fmt(3, 1, 16000, 32, extension=b"\0\0"), SampleFormat("float", 4)),
        (fmt(3, 8, 16000, 64), SampleFormat("float", 8)),
        (fmt(6, 1, 8000, 8), SampleFormat("alaw", 1)),
        (fmt(7, 2, 8000, 8), SampleFormat("mulaw", 1)),
        (extensible(1, 2, 48000, 32, valid_bits=24), SampleFormat("int", 4)),
        (extensible(3, 2, 48000, 32, valid_bits=32), SampleFormat("float", 4)),
        (extensible(7, 1, 8000, 8, valid_bits=8), SampleFormat("mulaw", 1)),
    ],
)
def test_each_format_is_read(header: bytes, form: SampleFormat) -> None:
    found = parsed(wav(header, DATA))
    assert found.form == form
    assert found.data_bytes == 100


@pytest.mark.parametrize("format_name", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
def test_headers_that_libsndfile_writes_are_read(format_name: str, subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((77, 2)), 22050, subtype=subtype, format=format_name)
    found = parsed(file.getvalue())
    assert (found.rate, found.channels) == (22050, 2)
    assert found.data_bytes == 77 * 2 * found.form.bytes
    assert found.data_offset + found.data_bytes <= len(file.getvalue())


def test_a_big_endian_file_is_read() -> None:
    data = wav(fmt(1, 2, 44100, 16, order=">"), chunk(b"data", b"\0" * 8, order=">"), magic=b"RIFX")
    assert parsed(data) == WavHeader(SampleFormat("int", 2, big_endian=True), 2, 44100, 44, 8)


def test_parts_before_the_audio_are_skipped_with_their_padding() -> None:
    data = wav(chunk(b"JUNK", b"x" * 27), PCM16, chunk(b"LIST", b"INFOabc"), DATA)
    assert data[parsed(data).data_offset :] == b"\1\2" * 50


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_the_length_of_a_streamed_file_is_unknown(size: int) -> None:
    assert parsed(wav(PCM16, chunk(b"data", b"\1\2", size=size))).data_bytes is None


def test_the_length_of_a_large_file_stands_in_its_own_part() -> None:
    sizes = (10**10).to_bytes(8, "little") + (5 * 10**9).to_bytes(8, "little") + bytes(12)
    data = wav(chunk(b"ds64", sizes), PCM16, chunk(b"data", b"", size=0xFFFFFFFF), magic=b"RF64")
    assert parsed(data).data_bytes == 5 * 10**9


def test_a_header_is_not_complete_before_its_last_byte() -> None:
    data = wav(chunk(b"LIST", b"INFO" * 5), PCM16, DATA)
    offset = parsed(data).data_offset
    assert [parse(data[:end]) for end in range(12, offset)] == [None] * (offset - 12)
    assert parse(data[:offset]) == parsed(data)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", None),
        (b"R", None),
        (b"RIFF\0\0\0\0WAV", None),
        (b"RIFF\0\0\0\0WAVE", True),
        (b"RF64\0\0\0\0WAVEds64", True),
        (b"RIFF\0\0\0\0AVI ", False),
        (b"RIX", False),
        (b"fLaC", False),
    ],
)
def test_a_wav_file_is_told_by_its_first_twelve_bytes(head: bytes, expected: bool | None) -> None:
    assert is_wav(head) is expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wav(fmt(1, 1, 0, 16), DATA), "sample rate of 0 Hz"),
        (wav(fmt(1, 1, 4_000_000_000, 16), DATA), "sample rate of 4000000000 Hz"),
        (wav(fmt(1, 0, 16000, 16), DATA), "0 channels"),
        (wav(fmt(1, 9, 16000, 16), DATA), "9 channels"),
        (wav(fmt(1, 2, 16000, 12), DATA), "damaged: 2 int samples in 3 bytes"),
        (wav(fmt(3, 1, 16000, 16), DATA), "damaged: 1 float samples in 2 bytes"),
        (wav(DATA), "before its format"),
        (wav(chunk(b"fmt ", b"\1\0\1\0"), DATA), "its format part has 4 bytes"),
        (wav(PCM16, chunk(b"LIST", b"", size=MAX_HEADER_BYTES)), "'LIST' has 1048576"),
    ],
)
def test_a_header_that_cannot_be_is_named(data: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        parse(data)


def test_compressed_samples_are_told_apart() -> None:
    with pytest.raises(UnknownWavFormat, match="0x0011"):
        parse(wav(fmt(0x11, 1, 16000, 4 * 8), DATA))
