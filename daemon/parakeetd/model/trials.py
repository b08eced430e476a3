"""Measures which form of the decoder is fastest, on a device of this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from parakeetd.audio import Samples
from parakeetd.errors import DeviceError
from parakeetd.model.bundle import Bundle
from parakeetd.model.forms import Decoding, Form
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, probe
from parakeetd.model.transducers import open_transducer

BATCHES: Final = (1, 4, 8)
LOOK_AHEADS: Final = (1, 2, 4, 8)
ROUNDS: Final = 7

PATIENCE: Final = 10.0
"""Seconds after which no further round begins: a model that hears a token in every frame decodes slowly."""


def usable_devices() -> list[Device]:
    """The devices of this machine that work."""
    devices: list[Device] = ["cpu"]
    try:
        probe("cuda")
    except DeviceError:
        return devices
    return [*devices, "cuda"]


def measure_forms(
    bundle: Bundle, device: Device, speech: Samples, *, batches: Sequence[int] = BATCHES, rounds: int = ROUNDS
) -> Mapping[str, Decoding]:
    """The fastest decoding for each batch size, keyed as a manifest has it, in the device's own precision.

    Args:
        speech: float32 mono samples at 16 kHz; what the model hears in it decides how many tokens are decoded.
        rounds: the forms take turns so many times, after one for warming up; the medians are compared.

    Raises:
        BundleError, DeviceError: a graph cannot be opened or the device cannot be used.
    """
    precision = bundle.precision_for(device)
    recognizer = Recognizer.open(bundle, device=device)
    alone = recognizer.encode(recognizer.features([speech]))
    forms: list[Form] = [form for form in bundle.forms(precision) if form != "fused"] or ["fused"]
    opened = {form: open_transducer(bundle, form, device=device, precision=precision) for form in forms}
    candidates = [
        Decoding(form, ahead) for form in forms for ahead in (LOOK_AHEADS if form == "steps" else (1,))
    ]
    fastest = {}
    for rows in batches:
        encoded = alone if rows == 1 else alone.rows([0] * rows)
        runs = {
            decoding: partial(opened[decoding.form], encoded, look_ahead=decoding.look_ahead)
            for decoding in candidates
        }
        medians = _medians(runs, rounds)
        best = min(medians, key=medians.__getitem__)
        fastest[str(rows)] = Decoding(best.form, best.look_ahead, round(medians[best] * 1e3, 3))
    return fastest


def _medians(runs: Mapping[Decoding, Callable[[], object]], rounds: int) -> dict[Decoding, float]:
    """Median seconds of each, warm, taking turns so that a disturbance meets all of them."""
    times: dict[Decoding, list[float]] = {decoding: [] for decoding in runs}
    for run in runs.values():
        run()
    started = time.perf_counter()
    for turn in range(rounds):
        if turn and time.perf_counter() - started > PATIENCE:
            break
        for decoding, run in runs.items():
            begun = time.perf_counter()
            run()
            times[decoding].append(time.perf_counter() - begun)
    return {decoding: statistics.median(seconds) for decoding, seconds in times.items()}
