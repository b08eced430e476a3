"""The models that the conversion's tests share. NeMo takes 15 s to import: once per run."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parakeetd.model.bundle import Bundle
from parakeetd_convert.clips import verification_batches
from parakeetd_convert.nemo import Loaded, load_nemo
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.reference import Reference, listen
from parakeetd_convert.toolchain import load_toolchain, quiet
from random_nemo import TINY, write_random_nemo

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test remembers or leaves lands in the user's own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """torch, with NeMo loaded beside it. One thread: these models are so small that waking a second takes longer
    than the work, many times so when the machine has something else to do."""
    with quiet():
        load_toolchain()
    import torch

    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def demo(torch: ModuleType) -> Loaded:
    """The fixture model as NeMo restores it; never exported, so that it stays NeMo's own."""
    return load_nemo(DEMO)


@pytest.fixture(scope="session")
def demo_reference(demo: Loaded) -> Reference:
    return listen(demo.model, verification_batches(16_000))


@pytest.fixture(scope="session")
def bundle(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The fixture model, converted."""
    job = Job(DEMO, "demo", tmp_path_factory.mktemp("models"), ("en-US",))
    return Bundle.read(convert(job, nullcontext))


@pytest.fixture(scope="session")
def build_nemo(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a `.nemo` file of a plain transducer (EncDecRNNTBPEModel) with random weights."""

    def build(
        durations: tuple[int, ...] = (0, 1, 2, 3, 4), mels: int = 128, encoder: dict[str, Any] | None = None
    ) -> Path:
        folder = tmp_path_factory.mktemp("random")
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            return write_random_nemo(folder, replace(TINY, mels=mels), durations, encoder or {})

    return build


@pytest.fixture(scope="session")
def plain_nemo(build_nemo: Callable[..., Path]) -> Path:
    return build_nemo()
