"""Conversion writes down how each device of its machine decodes fastest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from parakeetd.errors import DeviceError
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.forms import Decoding
from parakeetd.model.trials import BATCHES
from parakeetd_convert import forms
from parakeetd_convert.errors import VerificationFailed

BUNDLE = Bundle.read(EMBEDDED)


def broken_on(*devices: str) -> Any:
    """Measuring as it looks from outside, on devices of which some fail."""

    def measure_forms(bundle: Bundle, device: str, speech: Any) -> Mapping[str, Decoding]:
        if device in devices:
            raise DeviceError("cuda", "out of memory") if device == "cuda" else RuntimeError("no kernel")
        return {"1": Decoding("steps", 4, 10.0)}

    return measure_forms


def test_the_cpu_is_measured_at_each_batch_size() -> None:
    measured = forms.measure(BUNDLE, nullcontext)
    assert list(measured["cpu"]) == [str(rows) for rows in BATCHES]
    assert {decoding.form for decoding in measured["cpu"].values()} <= {"steps", "loop"}


def test_a_gpu_that_does_not_run_the_model_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "usable_devices", lambda: ["cpu", "cuda"])
    monkeypatch.setattr(forms, "measure_forms", broken_on("cuda"))
    said: list[str] = []

    def step(title: str) -> AbstractContextManager[None]:
        said.append(title)
        return nullcontext()

    measured = forms.measure(BUNDLE, step)
    assert list(measured) == ["cpu"]
    assert said[-1] == "Leaving cuda unmeasured: device cuda: out of memory"


def test_a_decoder_that_does_not_run_on_the_cpu_stops_the_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "measure_forms", broken_on("cpu"))
    with pytest.raises(VerificationFailed, match="its decoder does not run: no kernel"):
        forms.measure(BUNDLE, nullcontext)
