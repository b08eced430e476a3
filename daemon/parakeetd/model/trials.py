"""Measures which form of the decoder is fastest, on a device of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from parakeetd.audio import Samples
from parakeetd.errors import DeviceError
from parakeetd.model.bundle import Bundle, Precision
from parakeetd.model.forms import Decoding, Form, usual
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, probe
from parakeetd.model.transducers import open_transducer

BATCHES: Final = (1, 4, 8)
LOOK_AHEADS: Final = (1, 2, 4, 8)
ROUNDS: Final = 15
LEAST_ROUNDS: Final = 3

PATIENCE: Final = 10.0
"""Seconds after which no further round of a batch size begins: a model that hears a token in every frame decodes
slowly."""

CLEAR: Final = 0.1
"""What serves unmeasured is kept unless another form takes a tenth less: less than that is other programs' doing."""


def usable_devices() -> list[Device]:
    """The devices of this machine that work."""
    devices: list[Device] = ["cpu"]
    try:
        probe("cuda")
    except DeviceError:
        return devices
    return [*devices, "cuda"]


def measure_forms(
    bundle: Bundle,
    device: Device,
    speech: Samples,
    *,
    precision: Precision | None = None,
    threads: int = 0,
    batches: Sequence[int] = BATCHES,
    rounds: int = ROUNDS,
    patience: float = PATIENCE,
) -> Mapping[str, Decoding]:
    """The fastest decoding for each batch size, keyed as a manifest has it; the usual one where none is clearly faster.

    Args:
        speech: float32 mono samples at 16 kHz; what the model hears in it decides how many tokens are decoded.
        precision: the device's own when not given.
        threads: inside one operator on the CPU; 0 for one per physical core.
        rounds: the forms take turns so many times at most, after one for warming up; their least times are compared,
            since other programs only add to a time.
        patience: seconds for one batch size, about.

    Raises:
        BundleError, DeviceError: a graph cannot be opened or the device cannot be used.
    """
    precision = bundle.precision_for(device, precision)
    recognizer = Recognizer.open(bundle, device=device, precision=precision, threads=threads)
    alone = recognizer.encode(recognizer.features([speech]))
    forms: list[Form] = [form for form in bundle.forms(precision) if form != "fused"] or ["fused"]
    opened = {
        form: open_transducer(bundle, form, device=device, precision=precision, threads=threads)
        for form in forms
    }
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
        least = _least(runs, rounds, patience)
        best = clearly_fastest(least, usual(device, rows))
        fastest[str(rows)] = Decoding(best.form, best.look_ahead, round(least[best] * 1e3, 3))
    return fastest


def clearly_fastest(seconds: Mapping[Decoding, float], usual: Decoding) -> Decoding:
    """The decoding that takes the least time; the usual one, if it is there and takes little more."""
    best = min(seconds, key=seconds.__getitem__)
    return usual if seconds.get(usual, float("inf")) * (1 - CLEAR) <= seconds[best] else best


def _least(
    runs: Mapping[Decoding, Callable[[], object]], rounds: int, patience: float
) -> dict[Decoding, float]:
    """Least seconds of each, warm, taking turns so that a disturbance meets all of them."""
    times: dict[Decoding, list[float]] = {decoding: [] for decoding in runs}
    for run in runs.values():
        run()
    started = time.perf_counter()
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and time.perf_counter() - started > patience:
            break
        for decoding, run in runs.items():
            begun = time.perf_counter()
            run()
            times[decoding].append(time.perf_counter() - begun)
    return {decoding: min(seconds) for decoding, seconds in times.items()}
