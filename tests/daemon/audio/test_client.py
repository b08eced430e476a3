from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from parakeetd.audio import Samples
from parakeetd.audio.pcm import Encoding
from parakeetd.audio.sources.client import ClientAudio
from parakeetd.errors import AudioError
from wavs import chunk, fmt, wav

STEREO = (np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 2))).astype(np.float32)
VOICE = (0.4 * np.sin(2 * np.pi * 300 * np.arange(24_000) / 24_000)).astype(np.float32)
"""One second at 24 kHz."""

PCM_TOLERANCE = 2 / 32768
"""Two steps of the 16 bits that the samples were stored with, for filters that ring."""


def encoded(samples: Samples, rate: int, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def heard(audio: ClientAudio, data: bytes, chunk_bytes: int = 3200) -> Samples:
    pieces = [audio.feed(data[at : at + chunk_bytes]) for at in range(0, len(data), chunk_bytes)]
    return np.concatenate([*pieces, audio.finish()])


def undeclared() -> ClientAudio:
    return ClientAudio(Encoding.UNSPECIFIED, 0, 0)


def int16(samples: Samples) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def test_raw_samples_at_16_khz_arrive_untouched() -> None:
    data = int16(STEREO[:, 0])
    expected = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    np.testing.assert_array_equal(heard(ClientAudio(Encoding.LINEAR_PCM, 16000, 1), data, 641), expected)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_raw_stereo_at_another_rate_is_mixed_and_converted(rate: int) -> None:
    expected = soxr.resample(STEREO.mean(axis=1), rate, 16000)
    result = heard(ClientAudio(Encoding.FLOAT32, rate, 2), STEREO.astype("<f4").tobytes(), 999)
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize(("encoding", "subtype"), [(Encoding.MULAW, "ULAW"), (Encoding.ALAW, "ALAW")])
def test_telephone_samples_are_what_libsndfile_encoded(encoding: Encoding, subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, VOICE, 16000, format="RAW", subtype=subtype)
    # Half of the widest step of G.711 is 2 % of full scale.
    np.testing.assert_allclose(heard(ClientAudio(encoding, 16000, 1), file.getvalue()), VOICE, atol=0.02)


@pytest.mark.parametrize("format_name", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
def test_a_wav_file_gives_what_libsndfile_reads_in_it(format_name: str, subtype: str) -> None:
    data = encoded(STEREO, 16000, format_name, subtype)
    reference, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_allclose(heard(undeclared(), data), reference.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_wav_header_is_believed_whatever_was_declared(encoding: Encoding) -> None:
    data = encoded(VOICE, 24000, "WAV")
    result = heard(ClientAudio(encoding, 48000, 2), data)
    np.testing.assert_allclose(result, soxr.resample(VOICE, 24000, 16000), atol=PCM_TOLERANCE)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 120), min_size=1, max_size=20))
def test_a_header_may_be_cut_anywhere(sizes: list[int]) -> None:
    data = wav(chunk(b"LIST", b"INFO" + b"x" * 33), fmt(1, 1, 16000, 16), chunk(b"data", int16(VOICE[:400])))
    audio, pieces, at = undeclared(), [], 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            break
        pieces.append(audio.feed(data[at : at + size]))
        at += size
    np.testing.assert_array_equal(
        np.concatenate([*pieces, audio.finish()]),
        np.frombuffer(int16(VOICE[:400]), "<i2") / np.float32(32768),
    )


def test_what_follows_the_audio_of_a_wav_file_is_not_audio() -> None:
    data = wav(fmt(1, 1, 16000, 16), chunk(b"data", int16(VOICE[:100])), chunk(b"LIST", b"INFO" * 500))
    assert len(heard(undeclared(), data, 7)) == 100


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_file_goes_on_until_the_end(size: int) -> None:
    data = wav(fmt(1, 1, 16000, 16), chunk(b"data", int16(VOICE[:5000]), size=size))
    assert len(heard(undeclared(), data)) == 5000


def test_wav_samples_arrive_before_the_end_of_the_stream() -> None:
    audio = undeclared()
    header_and_samples = encoded(VOICE, 16000, "WAV")[: 44 + 2 * 1000]
    assert len(audio.feed(header_and_samples)) == 1000


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("FLAC", None), ("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)],
)
def test_compressed_files_are_decoded_at_the_end(kind: str, subtype: str | None) -> None:
    data = encoded(VOICE, 24000, kind, subtype)
    reference, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    result = heard(undeclared(), data)
    np.testing.assert_allclose(result, soxr.resample(reference, 24000, 16000), atol=1e-6)
    assert 0.35 < np.abs(result).max() < 0.5


@pytest.mark.parametrize(
    ("encoding", "kind"), [(Encoding.FLAC, "FLAC"), (Encoding.OGG, "OGG"), (Encoding.LINEAR_PCM, "FLAC")]
)
def test_a_declared_container_needs_no_rate(encoding: Encoding, kind: str) -> None:
    assert len(heard(ClientAudio(encoding, 0, 1), encoded(VOICE, 16000, kind))) == len(VOICE)


def test_a_wav_file_of_compressed_samples_is_decoded_at_the_end() -> None:
    data = encoded(VOICE, 16000, "WAV", "IMA_ADPCM")
    reference, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(heard(undeclared(), data), reference)


def test_a_rate_without_an_encoding_means_16_bit_samples() -> None:
    assert len(heard(ClientAudio(Encoding.UNSPECIFIED, 16000, 1), int16(VOICE))) == len(VOICE)


def test_samples_that_begin_like_an_mp3_frame_are_still_samples() -> None:
    data = b"\xff\xfb\x90\x00" + int16(VOICE)
    assert len(heard(ClientAudio(Encoding.UNSPECIFIED, 16000, 1), data)) == len(VOICE) + 2


def test_two_samples_are_enough_even_when_they_begin_like_a_file() -> None:
    assert len(heard(ClientAudio(Encoding.LINEAR_PCM, 16000, 1), b"RIF\0")) == 2
    assert len(heard(ClientAudio(Encoding.LINEAR_PCM, 16000, 1), b"fL")) == 1


def test_a_stream_without_declared_channels_is_mono() -> None:
    assert len(heard(ClientAudio(Encoding.LINEAR_PCM, 16000, 0), int16(VOICE))) == len(VOICE)


def test_an_incomplete_last_sample_is_dropped() -> None:
    assert len(heard(ClientAudio(Encoding.LINEAR_PCM, 16000, 2), b"\1\0\2\0\3\0\4")) == 1


@pytest.mark.parametrize("rate", [-1, 3999, 768_001, 2**31 - 1])
def test_an_absurd_declared_rate_is_named(rate: int) -> None:
    with pytest.raises(AudioError, match=f"{rate} Hz"):
        ClientAudio(Encoding.LINEAR_PCM, rate, 1)


@pytest.mark.parametrize("channels", [-1, 9, 255])
def test_an_absurd_number_of_channels_is_named(channels: int) -> None:
    with pytest.raises(AudioError, match=f"{channels} channels"):
        ClientAudio(Encoding.LINEAR_PCM, 16000, channels)


@pytest.mark.parametrize("encoding", [Encoding.LINEAR_PCM, Encoding.FLOAT32, Encoding.MULAW, Encoding.ALAW])
def test_raw_samples_of_0_hz_are_refused(encoding: Encoding) -> None:
    with pytest.raises(AudioError, match="sample rate of 0 Hz"):
        ClientAudio(encoding, 0, 1).feed(b"\1\2" * 100)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_empty_audio_is_refused(encoding: Encoding) -> None:
    audio = ClientAudio(encoding, 16000, 1)
    assert len(audio.feed(b"")) == 0
    with pytest.raises(AudioError, match="empty"):
        audio.finish()


def test_a_wav_file_without_samples_is_refused() -> None:
    with pytest.raises(AudioError, match="empty"):
        heard(undeclared(), wav(fmt(1, 1, 16000, 16), chunk(b"data", b"")))


def test_half_a_sample_is_empty() -> None:
    with pytest.raises(AudioError, match="no complete sample"):
        heard(ClientAudio(Encoding.LINEAR_PCM, 16000, 1), b"\1")


@pytest.mark.parametrize("length", [4, 11, 12, 20, 43])
def test_a_truncated_header_is_named_in_the_error(length: int) -> None:
    with pytest.raises(AudioError, match=f"header is cut short: the audio ends after {length} bytes"):
        heard(undeclared(), encoded(VOICE, 16000, "WAV")[:length])


@pytest.mark.parametrize(
    "data", [b"\x00" * 100, b"hello, this is text", b"\x89PNG\r\n\x1a\n" + bytes(99), b"\xff"]
)
def test_what_is_no_audio_is_refused_with_its_first_bytes(data: bytes) -> None:
    with pytest.raises(AudioError, match=f"begins with the bytes {data[:8].hex(' ')}"):
        heard(undeclared(), data)


@pytest.mark.parametrize("encoding", [Encoding.FLAC, Encoding.OGG])
def test_a_stream_that_is_not_what_was_declared_is_refused(encoding: Encoding) -> None:
    with pytest.raises(AudioError, match=f"not the declared {encoding.value}"):
        ClientAudio(encoding, 16000, 1).feed(b"\1\2\3\4\5\6\7\x08")


@pytest.mark.parametrize("magic", [b"fLaC", b"OggS", b"ID3\4", b"FORM"])
def test_garbage_behind_a_known_beginning_is_refused(magic: bytes) -> None:
    with pytest.raises(AudioError, match="damaged"):
        heard(undeclared(), magic + np.random.default_rng(0).bytes(5000))


def test_a_flac_stream_that_is_cut_gives_what_came() -> None:
    data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32), 16000, "FLAC")
    assert 16_000 < len(heard(undeclared(), data[: len(data) // 2])) < 24_000 + 1


def test_a_container_over_the_limit_of_bytes_is_refused_with_the_limit() -> None:
    audio = ClientAudio(Encoding.FLAC, 0, 1, max_container_bytes=1000)
    with pytest.raises(AudioError, match="limit of 1000 bytes"):
        heard(audio, encoded(VOICE, 16000, "FLAC"), 100)


def test_a_container_that_unpacks_to_too_much_is_refused_with_the_limit() -> None:
    silence = encoded(np.zeros(16000 * 30, np.float32), 16000, "FLAC")
    assert len(silence) < 10_000
    with pytest.raises(AudioError, match="limit of 10 s"):
        heard(ClientAudio(Encoding.FLAC, 0, 1, max_container_seconds=10), silence)


def test_a_file_that_sends_its_reader_before_its_beginning_is_refused_without_a_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    cut = b"FORM\x00\x00\x0c\xaeAIFFCOMM\x00\x00\x00\x12\x00\x01\x00\x00\x06@\x00\x10@"
    with pytest.raises(AudioError, match="damaged or cut short"):
        heard(undeclared(), cut)
    assert capfd.readouterr().err == ""
