"""Putting a finished bundle in its place: whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from parakeetd_convert.claims import claimed, remove_abandoned
from parakeetd_convert.errors import BundleExists, PublishError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def staging(models: Path, name: str) -> Iterator[Path]:
    """A new folder `.NAME.partial-XXXX` beside the place of the bundle, removed when the block fails.

    What runs that died have left for this name is cleaned up first; the folder of a living run is left alone.

    Raises:
        PublishError: the folder of models cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            models.mkdir(parents=True, exist_ok=True)
            with _locked(models):
                recover(models, name)
            claim = stack.enter_context(claimed(models, f".{name}.partial"))
        except OSError as error:
            raise PublishError(
                f"{models} cannot be written: {error.strerror or error}; choose another with --models"
            ) from error
        # After publishing, the folder of this name is the replaced bundle or none.
        yield claim.folder


def recover(models: Path, name: str) -> None:
    """Bring back a bundle that a run set aside when it died, and remove the leftovers of dead runs."""
    target = models / name
    for aside in sorted(models.glob(f".{name}.old-*")):
        if target.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(target)
    remove_abandoned(models, f".{name}.partial")


def publish(folder: Path, target: Path, *, force: bool) -> None:
    """Give a finished folder its name. A bundle of that name is replaced in one step, and only with `force`.

    Raises:
        BundleExists: there is one, and `force` is not set.
        PublishError: the file system refused; an older bundle is still in its place.
    """
    try:
        _sync(folder)
        # Another run must not look for leftovers, or publish, between a look and a rename.
        with _locked(target.parent):
            if not target.exists():
                folder.rename(target)
            elif not force:
                raise BundleExists(target)
            elif not _exchange(folder, target):
                _replace_in_two_steps(folder, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise PublishError(f"{target} cannot be written: {error.strerror or error}") from error


def _replace_in_two_steps(folder: Path, target: Path) -> None:
    aside = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
    target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically; false where kernel, C library or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code))


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
