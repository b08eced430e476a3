"""The log-mel graph against NeMo's own preprocessor."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parakeetd.model.sessions import open_session
from parakeetd_convert.errors import UnsupportedModel
from parakeetd_convert.frontend import FrontEnd, build_front_end, read_front_end
from parakeetd_convert.toolchain import quiet

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

TOLERANCE = 2e-4
"""Absolute, on noise and speech of the shipped clips; measured 1.8e-4 with 128 mels, 1e-4 with 80."""

OWN_TOLERANCE = 1e-4
"""Of ours to float64. NeMo's own rounding grows with the length and differs between processors: for 20 s of noise it is
2.2e-4 from float64 on an AMD Zen 4, ours 7e-5. Where it leaves no room below the other bound, it is not counted."""

SINGLE_LENGTHS = (160, 161, 319, 320, 479, 481, 1_600, 4_801, 16_000, 48_123, 7 * 16_000, 20 * 16_000)
"""Samples: one frame, two frames, hops that divide the length and hops that do not, up to 20 s."""


class Pair:
    """NeMo's preprocessor and the graph made from it."""

    def __init__(self, torch: Any, **settings: Any) -> None:
        from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor

        defaults = {"features": 80, "normalize": "per_feature", "n_fft": 512, "dither": 0.0, "pad_to": 0}
        self._torch = torch
        with quiet():
            self.nemo = AudioToMelSpectrogramPreprocessor(**(defaults | settings)).eval()
        self.front_end = read_front_end(self.nemo)
        self._session = open_session(build_front_end(self.front_end).SerializeToString(), "cpu", threads=2)

    def run(self, waveforms: Floats, lengths: Ints) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Features and lengths, ours and NeMo's."""
        ours = self._session.run(
            {"waveforms": waveforms, "waveforms_lens": lengths}, ["features", "features_lens"]
        )
        with self._torch.inference_mode(), quiet():
            nemo = self.nemo(
                input_signal=self._torch.from_numpy(waveforms.copy()), length=self._torch.from_numpy(lengths)
            )
        return ours, [tensor.numpy() for tensor in nemo]

    def error(self, waveforms: Floats, lengths: Ints) -> float:
        (features, frames), (nemo_features, nemo_frames) = self.run(waveforms, lengths)
        assert frames.tolist() == nemo_frames.tolist()
        assert features.shape == nemo_features.shape
        return float(np.abs(features - nemo_features).max(initial=0.0))

    def nemos_rounding(self, clip: Floats) -> float:
        """How far NeMo is from the same formulas in float64; 0 for one frame, which has no deviation."""
        if clip.size < 2 * self.front_end.hop:
            return 0.0
        _, (nemo, _) = self.run(clip[None], np.array([clip.size]))
        exact = in_float64(clip, self.front_end)
        return float(np.abs(nemo[0, :, : exact.shape[1]] - exact).max())


@pytest.fixture(scope="module", params=[80, 128], ids=["80 mels", "128 mels"])
def pair(request: pytest.FixtureRequest, torch: ModuleType) -> Pair:
    return Pair(torch, features=request.param)


def noise(samples: int, seed: int = 0, level: float = 0.1) -> Floats:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("samples", SINGLE_LENGTHS)
def test_features_of_one_clip_are_nemos(pair: Pair, samples: int) -> None:
    assert pair.error(noise(samples)[None], np.array([samples])) <= max(
        TOLERANCE, OWN_TOLERANCE + pair.nemos_rounding(noise(samples))
    )


@pytest.mark.parametrize("samples", [n for n in SINGLE_LENGTHS if n >= 16_000])
def test_features_of_a_long_clip_are_those_of_float64(pair: Pair, samples: int) -> None:
    (features, _), _ = pair.run(noise(samples)[None], np.array([samples]))
    exact = in_float64(noise(samples), pair.front_end)
    assert np.abs(features[0, :, : exact.shape[1]] - exact).max() <= OWN_TOLERANCE


# From 10 frames on: where two or three frames happen to be almost equal in a mel, its deviation is almost zero, and
# dividing by it shows the rounding of both sides. 1e-3 leaves room for the rarest of random cases.
@given(lengths=st.lists(st.integers(1_600, 40_000), min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_features_of_a_batch_of_any_lengths_are_nemos(pair: Pair, lengths: list[int], seed: int) -> None:
    waveforms = np.zeros((len(lengths), max(lengths)), np.float32)
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = noise(length, seed)
    assert pair.error(waveforms, np.array(lengths)) <= 1e-3


def test_what_lies_behind_the_end_of_a_clip_does_not_matter(pair: Pair) -> None:
    lengths = np.array([5_000, 16_000])
    padded = np.stack([noise(16_000), noise(16_000, seed=1)])
    dirty, (clean, _) = pair.run(padded, lengths)[0], (padded.copy(), None)
    clean[0, 5_000:] = 0
    assert np.array_equal(dirty[0], pair.run(clean, lengths)[0][0])


def test_a_single_frame_gives_zeros_as_in_nemo_and_never_nan(pair: Pair) -> None:
    (features, frames), (nemo, _) = pair.run(noise(200)[None], np.array([200]))
    assert frames.tolist() == [1]
    assert np.array_equal(features, nemo)
    assert not features.any()


def test_a_clip_shorter_than_a_frame_has_no_frames_and_no_nan(pair: Pair) -> None:
    (features, frames), (nemo, _) = pair.run(noise(100)[None], np.array([100]))
    assert frames.tolist() == [0]
    assert np.array_equal(features, nemo)


def test_speech_gives_nemos_features(pair: Pair, clips: dict[str, Any]) -> None:
    for clip in clips.values():
        if (clip.rate, clip.channels) == (16_000, 1):
            samples, _ = soundfile.read(clip.path, dtype="float32")
            assert pair.error(samples[None], np.array([samples.size])) <= TOLERANCE, clip.path.name


def test_digital_silence_between_speech_is_nemos(pair: Pair) -> None:
    waveform = np.concatenate([np.zeros(8_000, np.float32), noise(16_000), np.zeros(8_000, np.float32)])
    assert pair.error(waveform[None], np.array([waveform.size])) <= TOLERANCE


def test_digital_silence_alone_is_zero(pair: Pair) -> None:
    """NeMo divides its own rounding errors by 1e-5 here and gives up to 0.3: nothing to be equal to."""
    (features, _), _ = pair.run(np.zeros((1, 16_000), np.float32), np.array([16_000]))
    assert not features.any()


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize": None},
        {"log_zero_guard_type": "clamp"},
        {"log_zero_guard_value": "eps"},
        {"preemph": None},
        {"window": "hamming", "window_size": 0.032},
        {"window_size": 0.02, "window_stride": 0.02},
        {"window_size": 0.0250625, "window_stride": 0.0101},
        {"window_size": 0.01, "window_stride": 0.02},
        {"mel_norm": None, "lowfreq": 100, "highfreq": 7_000},
    ],
    ids=lambda settings: ", ".join(f"{key}={value}" for key, value in settings.items()),
)
def test_other_settings_are_taken_from_the_model(torch: ModuleType, settings: dict[str, Any]) -> None:
    pair = Pair(torch, **settings)
    assert pair.error(np.stack([noise(16_000), noise(16_000, 1)]), np.array([16_000, 9_001])) <= TOLERANCE


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"normalize": "all_features"}, "normalize"),
        ({"exact_pad": True}, "exact_pad"),
        ({"log": False}, "log"),
    ],
)
def test_a_setting_that_is_not_reproduced_is_refused_by_name(
    torch: ModuleType, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedModel, match=f"{named}="):
        Pair(torch, **settings)


def test_recordings_give_nemos_features_but_for_nemos_own_rounding(torch: ModuleType, speech: Path) -> None:
    """NeMo's float32 result is itself up to 2.4e-3 from the same formulas in float64, where a recording has hardly
    any energy above 4 kHz: what it differs from itself is not counted."""
    pair = Pair(torch)
    files = [file for file in sorted(speech.rglob("*.flac")) if soundfile.info(file).duration < 30][::12]
    for file in files:
        samples, rate = soundfile.read(file, dtype="float32")
        if rate != 16_000 or samples.ndim != 1 or not samples.any():
            continue
        error = pair.error(samples[None], np.array([samples.size]))
        assert error <= 1e-3 + pair.nemos_rounding(samples), file.name


def in_float64(samples: Floats, front_end: FrontEnd) -> NDArray[np.float64]:
    """The log-mel features of a clip by the textbook: framed, windowed, Fourier-transformed, [mels, frames]."""
    signal = samples.astype(np.float64)
    signal[1:] -= front_end.preemphasis * samples[:-1]
    half = front_end.n_fft // 2
    padded = np.pad(signal, half)
    window = np.pad(front_end.window.astype(np.float64), (front_end.n_fft - front_end.window.size) // 2)
    starts = range(0, samples.size // front_end.hop * front_end.hop, front_end.hop)
    frames = np.stack([padded[start : start + front_end.n_fft] * window for start in starts])
    energies = front_end.filterbank.astype(np.float64) @ (np.abs(np.fft.rfft(frames)) ** 2).T
    log_mel = np.log(energies + front_end.guard)
    deviation = log_mel.std(axis=1, ddof=1, keepdims=True) + 1e-5
    result: NDArray[np.float64] = (log_mel - log_mel.mean(axis=1, keepdims=True)) / deviation
    return result
