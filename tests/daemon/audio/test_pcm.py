from __future__ import annotations

import io
import itertools
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.audio.pcm import RAW_FORMATS, Decoder, Encoding, SampleFormat, decode, mono, sane
from parakeetd.errors import AudioError

ALL_CODES = bytes(range(256))


@pytest.mark.parametrize(("kind", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_every_companded_code_has_the_value_that_libsndfile_gives_it(kind: str, subtype: str) -> None:
    reference, _ = soundfile.read(
        io.BytesIO(ALL_CODES), format="RAW", subtype=subtype, samplerate=8000, channels=1, dtype="float32"
    )
    form = RAW_FORMATS[Encoding.MULAW if kind == "mulaw" else Encoding.ALAW]
    np.testing.assert_array_equal(decode(ALL_CODES, form, 1)[:, 0], reference)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop left the standard library in Python 3.13")
@pytest.mark.filterwarnings("ignore:'audioop' is deprecated:DeprecationWarning")
def test_every_companded_code_has_the_value_that_the_standard_library_gives_it() -> None:
    import audioop

    for encoding, reference in (
        (Encoding.MULAW, audioop.ulaw2lin(ALL_CODES, 2)),
        (Encoding.ALAW, audioop.alaw2lin(ALL_CODES, 2)),
    ):
        expected = np.frombuffer(reference, "<i2").astype(np.float32) / 32768
        np.testing.assert_array_equal(decode(ALL_CODES, RAW_FORMATS[encoding], 1)[:, 0], expected)


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize(
    ("kind", "size", "subtype"),
    [
        ("int", 2, "PCM_16"),
        ("int", 3, "PCM_24"),
        ("int", 4, "PCM_32"),
        ("float", 4, "FLOAT"),
        ("float", 8, "DOUBLE"),
    ],
)
def test_samples_equal_what_libsndfile_wrote(kind: str, size: int, subtype: str, endian: str) -> None:
    written = np.random.default_rng(1).uniform(-1, 1, (500, 3))
    file = io.BytesIO()
    options = {"format": "RAW", "subtype": subtype, "endian": endian}
    soundfile.write(file, written, 16000, **options)
    reference, _ = soundfile.read(
        io.BytesIO(file.getvalue()), samplerate=16000, channels=3, dtype="float32", **options
    )
    form = SampleFormat("int" if kind == "int" else "float", size, endian == "BIG")
    np.testing.assert_array_equal(decode(file.getvalue(), form, 3), reference)


def test_eight_bit_samples_are_unsigned_around_the_middle() -> None:
    np.testing.assert_array_equal(
        decode(bytes([0, 128, 255]), SampleFormat("int", 1), 1)[:, 0],
        np.array([-1, 0, 127 / 128], np.float32),
    )


@pytest.mark.parametrize(
    ("encoding", "low", "high"),
    [(Encoding.LINEAR_PCM, b"\x00\x80", b"\xff\x7f"), (Encoding.MULAW, b"\x00", b"\x80")],
)
def test_the_loudest_samples_are_near_full_scale(encoding: Encoding, low: bytes, high: bytes) -> None:
    values = decode(low + high, RAW_FORMATS[encoding], 1)[:, 0]
    assert -1 <= values[0] < -0.97
    assert 0.97 < values[1] <= 1


@given(
    data=st.binary(max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    channels=st.integers(1, 8),
    encoding=st.sampled_from([Encoding.LINEAR_PCM, Encoding.FLOAT32, Encoding.MULAW]),
)
def test_a_stream_cut_anywhere_decodes_like_the_whole(
    data: bytes, cuts: list[int], channels: int, encoding: Encoding
) -> None:
    form = RAW_FORMATS[encoding]
    decoder = Decoder(form, channels)
    edges = [0, *sorted(cuts), len(data)]
    pieces = [decoder.feed(data[a:b]) for a, b in itertools.pairwise(edges)]
    whole = len(data) // (form.bytes * channels) * form.bytes * channels
    np.testing.assert_array_equal(np.concatenate(pieces), decode(data[:whole], form, channels))


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_mono_is_the_mean_of_the_channels(channels: int) -> None:
    frames = np.random.default_rng(2).uniform(-1, 1, (50, channels)).astype(np.float32)
    # Rounding of a float32 mean of 8 values of size 1.
    np.testing.assert_allclose(mono(frames), frames.astype(np.float64).mean(axis=1), atol=2e-7)


@pytest.mark.parametrize("channels", [0, 9])
def test_a_number_of_channels_that_cannot_be_used_is_named(channels: int) -> None:
    with pytest.raises(AudioError, match=f"^{channels} channels"):
        mono(np.zeros((4, channels), np.float32))


def test_values_that_are_no_samples_become_silence_and_loud_ones_stay() -> None:
    given_samples = np.array([np.nan, np.inf, -np.inf, 1e300, -1e30, 1.5, -32768.0, 0.25])
    np.testing.assert_array_equal(
        sane(given_samples), np.array([0, 0, 0, 0, 0, 1.5, -32768, 0.25], np.float32)
    )


def test_a_float_stream_with_nan_decodes_to_finite_samples() -> None:
    data = np.array([0.5, np.nan, -0.5], "<f4").tobytes()
    np.testing.assert_array_equal(decode(data, RAW_FORMATS[Encoding.FLOAT32], 1)[:, 0], [0.5, 0, -0.5])
