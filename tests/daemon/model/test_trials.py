"""Measuring the forms of the decoder: what is written down is a choice that the daemon can follow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from clips import Clip
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import BundleError
from parakeetd.model import trials
from parakeetd.model.bundle import EMBEDDED, Bundle, parse_manifest, write_manifest
from parakeetd.model.forms import Decoding
from parakeetd.model.trials import LOOK_AHEADS, clearly_fastest, measure_forms, usable_devices


def test_the_cpu_is_always_usable() -> None:
    assert usable_devices()[0] == "cpu"


def test_what_was_measured_is_followed(clips: dict[str, Clip], tmp_path: Path) -> None:
    bundle = Bundle.read(EMBEDDED)
    measured = measure_forms(bundle, "cpu", read_audio(clips["digits"].path), batches=(1, 3), rounds=1)
    assert list(measured) == ["1", "3"]
    assert all(d.milliseconds > 0 and d.look_ahead in LOOK_AHEADS for d in measured.values())
    write_manifest(tmp_path, replace(bundle.manifest, decoding={"cpu": measured}))
    followed = Bundle(tmp_path, parse_manifest(tmp_path)).choice("cpu", "fp32")
    assert followed.by_batch == {1: measured["1"], 3: measured["3"]}


def test_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch, clips: dict[str, Clip]) -> None:
    def scripted(runs, rounds, patience):  # type: ignore[no-untyped-def]
        return {d: 0.001 if d == Decoding("steps", 2) else 0.002 for d in runs}

    monkeypatch.setattr(trials, "_least", scripted)
    samples = read_audio(clips["digits"].path)
    measured = measure_forms(Bundle.read(EMBEDDED), "cpu", samples, batches=(1,))
    assert measured == {"1": Decoding("steps", 2, 1.0)}


@pytest.mark.parametrize(
    ("usual", "best"),
    [(1.09, Decoding("steps", 4)), (1.2, Decoding("loop")), (None, Decoding("loop"))],
)
def test_what_serves_unmeasured_is_kept_unless_another_form_is_clearly_faster(
    usual: float | None, best: Decoding
) -> None:
    seconds = {Decoding("loop"): 1.0, Decoding("steps", 1): 1.05}
    if usual is not None:
        seconds[Decoding("steps", 4)] = usual
    assert clearly_fastest(seconds, Decoding("steps", 4)) == best


def test_a_model_without_graphs_of_ours_is_measured_with_nemos(clips: dict[str, Clip]) -> None:
    bundle = Bundle.read(EMBEDDED)
    ours = ("joint-model", "greedy-model")
    files = {name: entry for name, entry in bundle.manifest.files.items() if not name.startswith(ours)}
    old = Bundle(EMBEDDED, replace(bundle.manifest, files=files))
    measured = measure_forms(old, "cpu", read_audio(clips["digits"].path), batches=(1,), rounds=1)
    assert measured["1"].form == "fused"


@pytest.mark.parametrize(
    ("decoding", "named"),
    [
        ({"cpu": {"none": {"form": "steps"}}}, r"decoding\.cpu"),
        ({"cpu": {"1": {"form": "steps", "look_ahead": 0}}}, r"decoding\.cpu"),
    ],
)
def test_a_record_that_cannot_be_followed_is_named(decoding: object, named: str, tmp_path: Path) -> None:
    raw = json.loads((EMBEDDED / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(raw | {"decoding": decoding}))
    with pytest.raises(BundleError, match=named):
        Bundle(tmp_path, parse_manifest(tmp_path)).choice("cpu", "fp32")


@pytest.mark.parametrize(
    ("decoding", "named"),
    [
        ({"cpu": {"1": {"form": "quick"}}}, r"decoding\.cpu\.1\.form"),
        ({"cpu": []}, r"decoding\.cpu"),
        ({"cpu": {"1": {}}}, r"decoding\.cpu\.1\.form is missing"),
    ],
)
def test_a_record_of_another_shape_is_refused_by_its_field(
    decoding: object, named: str, tmp_path: Path
) -> None:
    raw = json.loads((EMBEDDED / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(raw | {"decoding": decoding}))
    with pytest.raises(BundleError, match=named):
        parse_manifest(tmp_path)


def test_a_bundle_of_before_the_record_can_be_read(tmp_path: Path) -> None:
    raw = json.loads((EMBEDDED / "manifest.json").read_text())
    raw.pop("decoding", None)
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    assert parse_manifest(tmp_path).decoding == {}
