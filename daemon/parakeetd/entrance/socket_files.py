"""The files of unix sockets: for their owner alone, or for a group too."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from parakeetd.entrance.address import UnixAddress
from parakeetd.errors import ListenError

_SOCKET_MODE: Final = 0o600
_GROUP_SOCKET_MODE: Final = 0o660


def share(address: UnixAddress, group: str) -> None:
    """Let a group open a socket that is its owner's alone until then."""
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise ListenError(
            f"cannot listen on {address}: there is no group {group!r} (server.socket_group)"
        ) from None
    path = address.path
    try:
        # Not asked for where it is so already: a hardened service may give nothing away.
        if path.stat().st_gid != number:
            os.chown(path, -1, number)
        path.chmod(_GROUP_SOCKET_MODE)
        _open_folder(path.parent, number)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {address}: it cannot be given to group {group} (server.socket_group): {error.strerror}; "
            "the daemon's user must be a member"
        ) from error


def _open_folder(folder: Path, group: int) -> None:
    """Let a group into the socket's folder, where it is closed to it and ours."""
    found = folder.stat()
    if found.st_mode & stat.S_IXOTH or (found.st_gid == group and found.st_mode & stat.S_IXGRP):
        return
    if found.st_uid != os.geteuid():
        raise PermissionError(0, "its folder is closed to the group")
    os.chown(folder, -1, group)
    folder.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP)


@contextmanager
def private() -> Iterator[None]:
    """Files made meanwhile are for their owner alone."""
    before = os.umask(0o777 & ~_SOCKET_MODE)
    try:
        yield
    finally:
        os.umask(before)
