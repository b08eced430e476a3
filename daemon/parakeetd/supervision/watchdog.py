"""Signs of life for systemd's watchdog: given by the event loop, and only while work moves.

It is the last resort. An engine in a process of its own that hangs is killed and replaced by the router; what only a
restart mends is a thread of this process that hangs in the CPU's engine, a lock that is never given back, or the event
loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from parakeetd.routing.progress import Progress

log = logging.getLogger(__name__)

PATIENCE: Final = 1.5
"""The router gives up what hangs after its own patience; it is given half as long again to come to terms with it..."""
GRACE_SECONDS: Final = 15.0
"""...and this time, in which another device is opened."""

SIGNS: Final = 3
"""Signs of life in the time after which systemd takes the daemon for dead."""


def allowed_seconds(progress: Progress) -> float:
    """How long nothing may happen while segments are unanswered."""
    return PATIENCE * progress.patience_seconds + GRACE_SECONDS


def moves(progress: Progress) -> bool:
    """Whether a router does its work, or has none."""
    return progress.unanswered == 0 or progress.still_seconds < allowed_seconds(progress)


async def feed(notify: Callable[[str], None], seconds: float, look: Callable[[], Iterable[Progress]]) -> None:
    """Give signs of life until cancelled, or until work stands still: then systemd is asked to end the daemon at once.

    Args:
        notify: sends a line to systemd.
        seconds: without a sign for this long the daemon is taken for dead (`WatchdogSec=`).
        look: how each router's work goes. Called in the event loop: a router that does not answer stops the signs.
    """
    while True:
        stuck = [progress for progress in look() if not moves(progress)]
        if not stuck:
            notify("WATCHDOG=1")
        for progress in stuck:
            log.critical(
                "%d segments are unanswered and nothing has moved for %.0f s: the daemon has itself restarted",
                progress.unanswered,
                progress.still_seconds,
            )
            # Before version 243 systemd does not know this, and misses the signs a little later.
            notify("WATCHDOG=trigger")
        await asyncio.sleep(seconds / SIGNS)
