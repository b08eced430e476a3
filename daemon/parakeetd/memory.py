"""Memory that the process holds and does not use."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_M_ARENA_MAX: Final = -8
"""Of mallopt(3)."""

ARENAS: Final = 2


def share_arenas() -> None:
    """Have all threads allocate from a few arenas. To be called before there are many threads.

    By default each thread gets one, up to eight for each core, and what is freed in one is of no use to the others.
    Over thousands of streams, which go through many threads, that held 20 MB more.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give it to the system. The C library keeps what was freed for the next allocation, which may be hours away; it
    takes some milliseconds. Other C libraries than glibc have no such call, and less to give back."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
