from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from parakeetd.audio import Samples
from parakeetd.audio.sources.file import audio_blocks, read_audio, to_samples
from parakeetd.errors import AudioError
from wavs import chunk, fmt, wav

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
"""Three seconds at 16 kHz."""
TONE = (0.4 * np.sin(2 * np.pi * 300 * np.arange(48_000) / 24_000)).astype(np.float32)
"""Few bits a frame: an MP3 encoder lets such frames borrow from those before them."""

PCM_TOLERANCE = 2 / 32768
"""Two steps of the 16 bits that the files store, for filters that ring."""


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "au", "w64", "caf"])
def test_a_file_gives_the_samples_that_were_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, NOISE, 16000, subtype="PCM_16")
    np.testing.assert_allclose(read_audio(path), NOISE, atol=PCM_TOLERANCE)


@pytest.mark.parametrize(("kind", "subtype"), [("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", None)])
@pytest.mark.parametrize("samples", [NOISE, TONE], ids=["noise", "tone"])
def test_a_lossy_file_gives_what_libsndfile_decodes_in_one_read(
    tmp_path: Path, kind: str, subtype: str | None, samples: Samples
) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, samples, 48000, subtype=subtype)
    reference, rate = soundfile.read(path, dtype="float32")
    expected = soxr.resample(reference, rate, 16000)
    np.testing.assert_allclose(read_audio(path), expected, atol=1e-6)


def test_a_stereo_file_at_another_rate_is_mixed_and_converted(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    stereo = NOISE.reshape(-1, 2)
    soundfile.write(path, stereo, 44100)
    expected = soxr.resample(stereo.mean(axis=1), 44100, 16000)
    np.testing.assert_allclose(read_audio(path), expected, atol=PCM_TOLERANCE)


@pytest.mark.parametrize("name", ["audio", "audio.raw", "audio.txt"])
def test_a_file_is_known_by_its_content_and_not_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, NOISE, 16000, format="FLAC")
    assert len(read_audio(path)) == len(NOISE)


@pytest.mark.parametrize("seconds", [0.0001, 0.5, 0.7, 3.0, 60.0])
@pytest.mark.parametrize(("kind", "rate"), [("wav", 16000), ("flac", 22050)])
def test_blocks_joined_are_the_whole_file(tmp_path: Path, kind: str, rate: int, seconds: float) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, NOISE[:16000], rate)
    blocks = list(audio_blocks(path, seconds))
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path))
    assert {len(block) for block in blocks[:-1]} <= {max(1, round(seconds * 16000))}
    assert 0 < len(blocks[-1]) <= max(1, round(seconds * 16000))


def test_the_first_block_comes_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    half = wav(fmt(1, 1, 16000, 16), chunk(b"data", bytes(64_000)))
    os.mkfifo(path)
    with ThreadedWriter(path, half) as writer:
        blocks = audio_blocks(path, 0.5)
        first = next(blocks)
        writer.finish()
        assert len(first) == 8000
        assert sum(map(len, blocks)) == 24_000


class ThreadedWriter:
    """Writes into a named pipe and keeps it open until told."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write, args=(path, data))

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("wb") as pipe:
            pipe.write(data)
            pipe.flush()
            self._done.wait(30)

    def finish(self) -> None:
        self._done.set()

    def __enter__(self) -> ThreadedWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        self._thread.join()


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file that this process may not read, not even as root: it becomes nobody for a while."""
    path = tmp_path / "secret.wav"
    soundfile.write(path, NOISE, 16000)
    path.chmod(0)
    if root := os.geteuid() == 0:
        os.seteuid(65534)
    yield path
    if root:
        os.seteuid(0)


def refused(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.wav")


def test_a_folder_is_named(tmp_path: Path) -> None:
    assert "Is a directory" in refused(tmp_path)


def test_a_file_that_may_not_be_read_is_named(secret: Path) -> None:
    assert "Permission denied" in refused(secret)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    assert "empty" in refused(path)


@pytest.mark.parametrize("content", [b"just text, not audio\n" * 50, bytes(5000), b"\x7fELF" + bytes(500)])
def test_a_file_that_is_no_audio_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.wav"
    path.write_bytes(content)
    assert "not audio" in refused(path)


@pytest.mark.parametrize("length", [4, 20, 40])
def test_a_truncated_wav_header_is_named_in_the_error(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(fmt(1, 1, 16000, 16), chunk(b"data", bytes(100)))[:length])
    assert f"header is cut short: the audio ends after {length} bytes" in refused(path)


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("length", [4, 20, 30])
def test_a_truncated_header_of_another_kind_is_named(tmp_path: Path, kind: str, length: int) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, NOISE, 16000)
    path.write_bytes(path.read_bytes()[:length])
    refused(path)


def test_a_file_of_0_hz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(fmt(1, 1, 0, 16), chunk(b"data", bytes(100))))
    assert "sample rate of 0 Hz" in refused(path)


def test_a_file_with_too_many_channels_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.caf"
    soundfile.write(path, np.zeros((100, 9)), 16000)
    assert "9 channels" in refused(path)


def test_a_file_with_a_header_and_no_samples_is_named(tmp_path: Path) -> None:
    for kind in ("wav", "flac", "ogg"):
        path = tmp_path / f"a.{kind}"
        soundfile.write(path, np.zeros(0), 16000)
        assert "empty" in refused(path)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_a_file_cut_in_its_audio_gives_what_is_there_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, NOISE, 16000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        samples = read_audio(path)
    assert 16_000 < len(samples) < 26_000
    assert [
        str(path) in record.getMessage() and "cut short" in record.getMessage() for record in caplog.records
    ] == [True]


def test_a_whole_file_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("wav", "flac", "mp3", "ogg"):
        path = tmp_path / f"a.{kind}"
        soundfile.write(path, NOISE, 16000)
        read_audio(path)
    assert caplog.records == []


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_file_saved_from_a_stream_is_read_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(fmt(1, 1, 16000, 16), chunk(b"data", bytes(2000), size=size)))
    assert len(read_audio(path)) == 1000
    assert caplog.records == []


def test_a_wav_file_of_compressed_samples_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, 16000, subtype="MS_ADPCM")
    np.testing.assert_array_equal(read_audio(path), soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([0, 16384, -32768], np.int16), [0, 0.5, -1]),
        (np.array([0, 2**30, -(2**31)], np.int32), [0, 0.5, -1]),
        (np.array([0, 0.5, -1], np.float32), [0, 0.5, -1]),
        (np.array([0, 0.5, np.nan], np.float64), [0, 0.5, 0]),
        (np.array([[0, 0.5], [1, -1], [0.25, 0.75]], np.float32), [0.25, 0, 0.5]),
    ],
)
def test_an_array_becomes_mono_samples(array: Samples, expected: list[float]) -> None:
    result = to_samples(array, 16000)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.array(expected, np.float32))


def test_an_array_at_another_rate_is_converted() -> None:
    np.testing.assert_allclose(to_samples(NOISE, 8000), soxr.resample(NOISE, 8000, 16000), atol=1e-6)


def test_a_strided_array_is_taken() -> None:
    np.testing.assert_array_equal(to_samples(np.repeat(NOISE, 2)[::2], 16000), NOISE)


@pytest.mark.parametrize(
    ("array", "rate", "message"),
    [
        (np.zeros(0, np.float32), 16000, "empty"),
        (np.zeros((0, 2), np.float32), 16000, "empty"),
        (np.float32(1), 16000, r"shape \[\]"),
        (np.zeros((5, 5, 5), np.float32), 16000, r"shape \[5, 5, 5\]"),
        (np.zeros((2, 100), np.float32), 16000, r"\[2, 100\].* transpose"),
        (np.zeros((100, 9), np.float32), 16000, "9 channels"),
        (np.zeros(100, np.uint8), 16000, "uint8"),
        (np.zeros(100, np.complex64), 16000, "complex64"),
        (np.zeros(100, np.float32), 0, "0 Hz"),
    ],
)
def test_an_array_that_cannot_be_used_is_refused(array: Samples, rate: int, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        to_samples(np.asarray(array), rate)


def test_an_error_in_the_middle_still_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    file = io.BytesIO()
    soundfile.write(file, NOISE, 16000, format="FLAC")
    path.write_bytes(file.getvalue()[:100])
    refused(path)
