"""Sounds without speech, made from a seed: mono, 16 kHz, float32, at levels of a real microphone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples

Made = Callable[[float, np.random.Generator], Samples]
"""Seconds and a generator in, samples out."""


def levelled(samples: np.ndarray, level_db: float) -> Samples:
    """Scaled to an RMS level in dB below full scale."""
    return (samples * 10 ** (level_db / 20) / max(float(np.sqrt(np.mean(np.square(samples)))), 1e-9)).astype(
        np.float32
    )


def shaped(seconds: float, rng: np.random.Generator, slope_db: float) -> np.ndarray:
    """Gaussian noise whose power falls by `slope_db` dB an octave above 20 Hz: 0 is white, 3 pink, 6 brown."""
    count = round(seconds * SAMPLE_RATE)
    # In pieces of 30 s: a spectrum of ten minutes takes long and much memory. Joins are 20 ms cross-fades.
    piece, fade = 30 * SAMPLE_RATE, SAMPLE_RATE // 50
    ramp = np.sqrt(np.linspace(0.0, 1.0, fade))
    out = np.zeros(count + piece + fade)
    for at in range(0, count, piece):
        spectrum = np.fft.rfft(rng.normal(size=piece + fade))
        frequencies = np.maximum(np.fft.rfftfreq(piece + fade, 1 / SAMPLE_RATE), 20.0)
        part = np.fft.irfft(spectrum * (frequencies / 20.0) ** (-slope_db / 6.02), piece + fade)
        part[:fade] *= ramp
        part[-fade:] *= ramp[::-1]
        out[at : at + piece + fade] += part
    return out[:count]


def room(seconds: float, rng: np.random.Generator, level_db: float = -62.0) -> Samples:
    """What a microphone hears in a quiet room: between pink and brown."""
    return levelled(shaped(seconds, rng, 4.5), level_db)


def silence(seconds: float, rng: np.random.Generator) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def white(seconds: float, rng: np.random.Generator) -> Samples:
    return _swelling(levelled(shaped(seconds, rng, 0.0), -30.0), rng)


def pink(seconds: float, rng: np.random.Generator) -> Samples:
    return _swelling(levelled(shaped(seconds, rng, 3.0), -30.0), rng)


def hum(seconds: float, rng: np.random.Generator) -> Samples:
    """Mains hum of 50 or 60 Hz with harmonics that drift, over a room."""
    count = round(seconds * SAMPLE_RATE)
    out = np.zeros(count)
    block = 20 * SAMPLE_RATE
    for at in range(0, count, block):
        n = min(block, count - at)
        base = rng.choice([50.0, 60.0])
        t = np.arange(n) / SAMPLE_RATE
        part = np.zeros(n)
        for harmonic in range(1, 21):
            wobble = 1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.05, 0.5) * t + rng.uniform(0, 6.28))
            part += (
                wobble
                * np.sin(2 * np.pi * base * harmonic * t + rng.uniform(0, 6.28))
                / harmonic ** rng.uniform(0.5, 2.0)
            )
        out[at : at + n] = _faded(levelled(part, rng.uniform(-45.0, -20.0)))
    return (out + room(seconds, rng)).astype(np.float32)


def keyboard(seconds: float, rng: np.random.Generator) -> Samples:
    """Somebody types: bursts of key strokes, each a click of two resonances and a softer release, and pauses."""
    count = round(seconds * SAMPLE_RATE)
    out = room(seconds, rng).astype(np.float64)
    at = 0.0
    while at < seconds:
        for _ in range(int(rng.integers(3, 40))):
            for delay, gain in ((0.0, 1.0), (rng.uniform(0.06, 0.11), rng.uniform(0.3, 0.7))):
                first = round((at + delay) * SAMPLE_RATE)
                if first < count:
                    stroke = _stroke(rng) * gain * 10 ** (rng.uniform(-24.0, -8.0) / 20)
                    out[first : first + len(stroke)] += stroke[: count - first]
            at += rng.uniform(0.06, 0.3)
        at += rng.uniform(0.3, 4.0)
    return np.clip(out, -1, 1).astype(np.float32)


def music(seconds: float, rng: np.random.Generator) -> Samples:
    """Melodies with vibrato, chords and a beat: harmonic, in the range of voices, without words."""
    count = round(seconds * SAMPLE_RATE)
    out = np.zeros(count)
    beat = 0.0
    while beat < seconds:
        length = float(rng.choice([0.25, 0.5, 0.5, 1.0]))
        notes = [float(rng.integers(45, 76)) for _ in range(int(rng.integers(1, 4)))]
        for note in notes:
            _add(out, beat, _tone(440 * 2 ** ((note - 69) / 12), length * rng.uniform(0.8, 1.2), rng))
        if rng.random() < 0.5:
            hit = rng.normal(size=SAMPLE_RATE // 10) * np.exp(
                -np.arange(SAMPLE_RATE // 10) / (0.02 * SAMPLE_RATE)
            )
            _add(out, beat, 0.5 * hit)
        beat += length
    return _swelling(levelled(out, -24.0), rng)


def fan(seconds: float, rng: np.random.Generator) -> Samples:
    """A fan: brown noise, the hiss of air, and the tones of its blades."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    blades = sum(np.sin(2 * np.pi * 116.0 * k * t + rng.uniform(0, 6.28)) / k for k in range(1, 7))
    air = shaped(seconds, rng, 5.0)
    air /= np.std(air)
    return levelled(air * (1 + 0.2 * np.sin(2 * np.pi * 19.3 * t)) + 0.4 * blades, -34.0)


KINDS: Mapping[str, Made] = {
    "silence": silence,
    "white": white,
    "pink": pink,
    "hum": hum,
    "keyboard": keyboard,
    "music": music,
    "fan": fan,
}


def _swelling(samples: Samples, rng: np.random.Generator) -> Samples:
    """The level goes up and down by 12 dB within seconds, so that detectors that adapt meet changes."""
    points = np.arange(0, len(samples) + 4 * SAMPLE_RATE, 2 * SAMPLE_RATE)
    gain_db = np.interp(np.arange(len(samples)), points, rng.uniform(-12.0, 6.0, len(points)))
    return np.clip(samples * 10 ** (gain_db / 20), -1, 1).astype(np.float32)


def _faded(samples: Samples) -> Samples:
    ramp = np.minimum(1.0, np.arange(len(samples)) / (0.05 * SAMPLE_RATE)).astype(np.float32)
    return samples * ramp * ramp[::-1]


def _stroke(rng: np.random.Generator) -> np.ndarray:
    t = np.arange(round(0.03 * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(
        np.sin(2 * np.pi * rng.uniform(low, high) * t) * np.exp(-t / rng.uniform(0.002, 0.008))
        for low, high in ((200.0, 900.0), (1500.0, 5000.0))
    )
    click = np.asarray(tones + 0.7 * rng.normal(size=len(t)) * np.exp(-t / 0.002))
    return click / max(float(np.abs(click).max()), 1e-9)


def _tone(pitch: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = (
        2 * np.pi * pitch * t
        + rng.uniform(0, 8.0) * np.sin(2 * np.pi * rng.uniform(4.0, 7.0) * t) * pitch / 440
    )
    harmonics = [k for k in range(1, 13) if k * pitch < 7_500]
    wave = sum((np.sin(k * phase) / k ** rng.uniform(0.7, 2.0) for k in harmonics), np.zeros(len(t)))
    return wave * np.minimum(1.0, t / 0.01) * np.exp(-t / max(0.3, 0.6 * seconds))


def _add(out: np.ndarray, at: float, part: np.ndarray) -> None:
    first = round(at * SAMPLE_RATE)
    fitting = part[: max(0, len(out) - first)]
    out[first : first + len(fitting)] += fitting
