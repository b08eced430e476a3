"""SHA-256 sums of large files, remembered: a file that has not changed since is not read again.

Reading 2.5 GB takes seconds, and a command that has nothing to do should not. A file counts as unchanged while
device, inode, size and both times are; a change of its content sets its ctime, which no program can set back.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from parakeetd.model.bundle import sha256

_MOST = 200
"""Files remembered; the oldest is forgotten first."""


def file_sha256(file: Path, memory: Path | None = None) -> str:
    """Hex SHA-256 of a file's content.

    Args:
        memory: file of remembered sums; `sums.json` in the user's cache folder when not given. One that cannot be
            read or written does no harm.

    Raises:
        OSError: the file cannot be read.
    """
    memory = memory or cache_folder() / "sums.json"
    known = _read(memory)
    key, state = str(file.resolve()), _state(file)
    match known.get(key):
        case [remembered, str(digest)] if remembered == state:
            return digest
    digest = sha256(file)
    if _state(file) == state:
        known.pop(key, None)
        known[key] = [state, digest]
        _write(memory, dict(list(known.items())[-_MOST:]))
    return digest


def cache_folder() -> Path:
    """`parakeetd` in the user's cache folder: `$XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "parakeetd"


def _state(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(memory: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    return {}


def _write(memory: Path, known: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: a second run may read it at any moment.
        draft = memory.with_name(f".{memory.name}.{secrets.token_hex(4)}")
        draft.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        draft.replace(memory)
