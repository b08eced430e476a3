"""The recordings that tests use: the clips that ship in the package, and larger sets where a machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clips import Clip, shipped_clips

ROOT = Path(__file__).resolve().parents[1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `clip` runs once for each shipped clip."""
    if "clip" in metafunc.fixturenames:
        clips = shipped_clips()
        metafunc.parametrize("clip", clips, ids=[clip.path.stem for clip in clips])


@pytest.fixture(scope="session")
def clips() -> dict[str, Clip]:
    """All shipped clips by the stem of their file name."""
    return {clip.path.stem: clip for clip in shipped_clips()}


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of recordings that are not part of the project; skips where there is none."""
    folder = Path(os.environ.get("PARAKEETD_SPEECH") or ROOT.parent / "shared" / "speech")
    if not (folder / "manifest.jsonl").is_file():
        pytest.skip(f"no recordings in {folder}: set PARAKEETD_SPEECH")
    return folder
