"""Whether the installed models are whole, and whether the one to serve runs on each device that works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from parakeetd.audio import SAMPLE_RATE
from parakeetd.config import default_model
from parakeetd.diagnosis.check import Check
from parakeetd.errors import DeviceError, ParakeetError
from parakeetd.model.bundle import EMBEDDED, Bundle, find_bundle, installed_names
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device


def model_checks(models: Path, wanted: str, devices: Sequence[Device]) -> Iterator[Check]:
    """Read every byte of every model, and run the one that would be served.

    Args:
        wanted: name in the configuration; may be empty.
        devices: those that work.
    """
    try:
        names = installed_names(models)
    except ParakeetError as error:
        yield Check("models", "problem", str(error))
        return
    try:
        served = wanted or default_model(names)
        if served not in names:
            find_bundle(served, models)
    except ParakeetError as error:
        served = ""
        yield Check("model", "problem", str(error))
    for name in names:
        try:
            bundle = find_bundle(name, models)
            bundle.checked(_graphs_and_tables(bundle))
            ran = _ran_on(bundle, devices) if name == served else ""
        except ParakeetError as error:
            yield Check(f"model {name}", "problem", str(error))
        else:
            yield Check(f"model {name}", "ok", f"matches its checksums{ran} ({bundle.path})")
    if names == [EMBEDDED.name]:
        yield Check("models", "note", f"no full model in {models}; see: parakeetd-convert list")


def _graphs_and_tables(bundle: Bundle) -> list[str]:
    """Every file, external data left out: it is checked with its graph."""
    files = bundle.manifest.files
    return [name for name in files if not (name.endswith(".data") and name.removesuffix(".data") in files)]


def _ran_on(bundle: Bundle, devices: Sequence[Device]) -> str:
    for device in devices:
        recognizer = Recognizer.open(bundle, device=device)
        try:
            # Missing libraries and too little memory show only when the graphs run.
            recognizer.recognize([np.zeros(SAMPLE_RATE, np.float32)])
        except Exception as error:
            raise DeviceError(device, f"{bundle.name} does not run on it: {error}") from error
    return f", runs on {' and '.join(devices)}, and is the one that is served" if devices else ""
