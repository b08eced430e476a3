from __future__ import annotations

from typing import cast

import pytest

from parakeetd.audio.level import Level
from parakeetd.dictation.events import Event, Final, Interim, Loudness, State
from parakeetd.dictation.watchers import MAX_UNREAD, MAX_WATCHERS, Watcher, Watchers
from parakeetd.errors import Overloaded


def final(number: int) -> Final:
    return Final(1, str(number), str(number), 0.0, 1.0)


async def told(watcher: Watcher) -> list[Event]:
    """All that waits for a watcher that has ended."""
    return [event async for event in watcher]


async def test_every_watcher_is_told_everything_in_order() -> None:
    watchers = Watchers()
    with watchers.watch(State()) as one, watchers.watch(State()) as other:
        events: list[Event] = [State("listening", 1), Interim(1, "a"), final(1), final(2)]
        for event in events:
            watchers.tell(event)
        watchers.end()
        expected = [State(), State("listening", 1), final(1), final(2)]
        assert await told(one) == await told(other) == expected


async def test_an_unread_interim_gives_way_to_the_next_and_to_its_final() -> None:
    watcher = Watcher()
    for event in (Interim(1, "a"), Loudness(Level(-20.0, -10.0)), Interim(1, "a b")):
        watcher.tell(event)
    watcher.end()
    assert await told(watcher) == [Loudness(Level(-20.0, -10.0)), Interim(1, "a b")]


async def test_a_thousand_levels_that_nobody_read_are_one() -> None:
    watcher = Watcher()
    for number in range(1_000):
        watcher.tell(Loudness(Level(-float(number % 90))))
    watcher.tell(final(1))
    watcher.end()
    assert await told(watcher) == [Loudness(Level(-float(999 % 90))), final(1)]


async def test_a_watcher_that_does_not_read_is_ended_and_holds_back_nobody() -> None:
    watchers = Watchers()
    with watchers.watch() as lazy, watchers.watch() as eager:
        for number in range(MAX_UNREAD + 1):
            watchers.tell(final(number))
            assert cast(Final, await anext(eager)).text == str(number)
        with pytest.raises(Overloaded, match="256 events were left unread"):
            await anext(lazy)


async def test_there_are_only_so_many_watchers_and_one_that_leaves_makes_room() -> None:
    watchers = Watchers()
    blocks = [watchers.watch() for _ in range(MAX_WATCHERS)]
    for block in blocks:
        block.__enter__()
    with pytest.raises(Overloaded, match="64 watch"), watchers.watch():
        pass
    blocks[0].__exit__(None, None, None)
    with watchers.watch():
        pass
    for block in blocks[1:]:
        block.__exit__(None, None, None)


async def test_who_comes_after_the_end_is_told_how_it_stands_and_that_it_is_over() -> None:
    watchers = Watchers()
    watchers.end()
    with watchers.watch(State()) as watcher:
        assert await told(watcher) == [State()]
