"""A machine with two models, whose steward opens engines without a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from folders_of_models import Machine
from parakeetd import steward as stewards


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    made.install("one", "two")
    monkeypatch.setattr(stewards, "serve_devices", made.serve_devices)
    yield made
    for gate in made.all_gates:
        gate.set()
