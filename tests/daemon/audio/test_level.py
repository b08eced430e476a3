from __future__ import annotations

import numpy as np
import pytest

from parakeetd.audio.level import FLOOR_DB, Level, level_of


def test_a_sine_at_full_scale_has_its_peak_at_0_and_its_power_3_db_below() -> None:
    sine = np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000).astype(np.float32)
    level = level_of(sine)
    assert level.peak == pytest.approx(0.0, abs=0.01)
    assert level.rms == pytest.approx(-3.01, abs=0.01)


def test_half_the_amplitude_is_6_db_less() -> None:
    assert level_of(np.full(100, 0.5, np.float32)).rms == pytest.approx(-6.02, abs=0.01)


def test_silence_and_no_samples_are_at_the_floor() -> None:
    assert level_of(np.zeros(100, np.float32)) == level_of(np.zeros(0, np.float32)) == Level()
    assert Level().rms == FLOOR_DB


def test_samples_beyond_full_scale_count_as_full_scale() -> None:
    assert level_of(np.full(10, 3.0, np.float32)).peak == 0.0
