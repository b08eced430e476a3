"""Folders that belong to one run: locked while it lives, removed when it ends, and by the next run when it died."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Claim:
    """A folder and the descriptor that holds its lock. A child that inherits the descriptor holds the lock too."""

    folder: Path
    descriptor: int


@contextlib.contextmanager
def claimed(parent: Path, prefix: str) -> Iterator[Claim]:
    """A new folder `PREFIX-XXXXXXXX` in `parent`, removed when the block ends, whatever is under its name then.

    Raises:
        OSError: the parent cannot be written.
    """
    claim = _new(parent, prefix)
    try:
        yield claim
    finally:
        shutil.rmtree(claim.folder, ignore_errors=True)
        os.close(claim.descriptor)


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders `PREFIX-*` that no living run holds."""
    for folder in parent.glob(f"{prefix}-*"):
        descriptor = _lock(folder)
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _new(parent: Path, prefix: str) -> Claim:
    while True:
        folder = parent / f"{prefix}-{secrets.token_hex(4)}"
        folder.mkdir()
        descriptor = _lock(folder)
        # Between the two lines above another run may have taken it for abandoned.
        if descriptor is not None:
            if _is(folder, descriptor):
                return Claim(folder, descriptor)
            os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed; None when a living process holds it, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except OSError:
        return False
