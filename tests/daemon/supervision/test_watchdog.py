"""Signs of life: while work moves, or there is none, and not otherwise."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from parakeetd.config import watchdog_seconds
from parakeetd.routing.engine_record import HUNG_SECONDS
from parakeetd.routing.progress import Progress
from parakeetd.routing.schedule import RETRY_SECONDS
from parakeetd.supervision import feed, moves
from parakeetd.supervision.watchdog import SIGNS, allowed_seconds

UNIT_SECONDS = 30.0
"""WatchdogSec= of the units."""


class Listener:
    """What systemd is told; ends the feeding after so many lines."""

    def __init__(self, lines: int) -> None:
        self.lines: list[str] = []
        self.enough = asyncio.Event()
        self._wanted = lines

    def notify(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) == self._wanted:
            self.enough.set()


async def told(progress: list[Progress], lines: int) -> list[str]:
    listener = Listener(lines)
    task = asyncio.create_task(feed(listener.notify, 0.001, lambda: progress))
    await asyncio.wait_for(listener.enough.wait(), 30)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return listener.lines


@pytest.mark.parametrize("still", [0.0, 1e6])
def test_a_daemon_with_nothing_to_do_is_well_however_long_that_lasts(still: float) -> None:
    assert moves(Progress(0, still, HUNG_SECONDS))


def test_work_that_moves_is_well_however_much_there_is() -> None:
    assert moves(Progress(128, 5.0, HUNG_SECONDS))


def test_work_that_stands_still_is_not() -> None:
    limit = allowed_seconds(Progress(1, 0.0, HUNG_SECONDS))
    assert moves(Progress(1, limit - 0.1, HUNG_SECONDS))
    assert not moves(Progress(1, limit, HUNG_SECONDS))


@pytest.mark.parametrize("patience", [HUNG_SECONDS, RETRY_SECONDS, 160.0])
def test_the_router_has_its_own_patience_and_more_before_the_watchdog_acts(patience: float) -> None:
    assert allowed_seconds(Progress(1, 0.0, patience)) > 1.2 * patience + HUNG_SECONDS


def test_an_ordinary_hang_is_answered_within_twice_the_time_of_the_unit() -> None:
    """From the segment that hangs: what is allowed, the wait until the next look, and some seconds to start anew."""
    allowed = allowed_seconds(Progress(1, 0.0, HUNG_SECONDS))
    assert allowed + UNIT_SECONDS / SIGNS < 2 * UNIT_SECONDS - 10


async def test_signs_are_given_while_all_routers_move() -> None:
    assert set(await told([Progress(0, 9.0, 10.0), Progress(3, 1.0, 10.0)], 3)) == {"WATCHDOG=1"}


async def test_one_router_that_hangs_has_the_daemon_restarted(caplog: pytest.LogCaptureFixture) -> None:
    lines = await told([Progress(0, 9.0, 10.0), Progress(3, 100.0, 10.0)], 2)
    assert set(lines) == {"WATCHDOG=trigger"}
    assert "3 segments are unanswered and nothing has moved for 100 s" in caplog.text


async def test_a_router_that_cannot_be_asked_gives_no_signs() -> None:
    def look() -> list[Progress]:
        raise RuntimeError("no answer")

    listener = Listener(1)
    with pytest.raises(RuntimeError):
        await feed(listener.notify, 0.001, look)
    assert listener.lines == []


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_systemd_says_how_often_and_of_whom_it_expects_a_sign(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environment) == seconds
