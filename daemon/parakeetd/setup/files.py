"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from parakeetd.errors import SetupError


def read_if_there(path: Path) -> str | None:
    """The text of a file; None when there is none.

    Raises:
        SetupError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be read: {error}") from error


def write_if_changed(path: Path, text: str) -> bool:
    """Have a file with this text, readable by all; True when that changed something. Through a link, its target.

    Raises:
        SetupError: it cannot be written; what was there is there.
    """
    if read_if_there(path) == text:
        return False
    target = path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(target)
    except OSError as error:
        with suppress(OSError):
            Path(name).unlink()
        raise SetupError(f"cannot write {path}: {error.strerror}") from error
    return True


def remove(path: Path) -> bool:
    """Remove a file, or a folder with all that is in it; True when it was there. Of a link, its target too.

    Raises:
        SetupError: it cannot be removed.
    """
    try:
        if path.is_symlink():
            target = path.resolve()
            path.unlink()
            if target.exists():
                remove(target)
            return True
        if path.is_dir():
            shutil.rmtree(path)
            return True
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SetupError(f"cannot remove {path}: {error.strerror}") from error
    return True


def give_to_owner(folder: Path) -> None:
    """Give everything in a folder to who owns the folder: root writes into a service's own.

    Raises:
        SetupError: not allowed.
    """
    try:
        owner = folder.stat()
        for path in (folder, *folder.rglob("*")):
            status = path.lstat()
            if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SetupError(f"{folder} cannot be given to the service: {error.strerror}") from error
