"""A microphone over a sound server without sound: what reaches those who listen, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fake_sound import HEADSET, MIC, MONITOR, FakeSoundServer
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.capture import Standing
from parakeetd.audio.sources.microphone import QUEUE_SECONDS, Gap, Listening, Microphone

WAIT_SECONDS = 20.0


class Standings:
    """What a listener is told, to be waited for."""

    def __init__(self) -> None:
        self.said: list[Standing] = []
        self._news = asyncio.Event()

    def __call__(self, standing: Standing) -> None:
        self.said.append(standing)
        self._news.set()

    async def phase(self, wanted: str) -> Standing:
        """The newest standing, once it has this phase."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.said or self.said[-1].phase != wanted:
                self._news.clear()
                await self._news.wait()
        return self.said[-1]


@asynccontextmanager
async def opened(
    server: FakeSoundServer, device: str = "", *, ring_seconds: float = 0.0
) -> AsyncIterator[Microphone]:
    microphone = Microphone(server, device, ring_seconds=ring_seconds)
    try:
        yield microphone
    finally:
        await microphone.close()


async def rest(listening: Listening) -> list[float | str]:
    """All that is still to come: seconds of audio between gaps."""
    found: list[float | str] = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for item in listening:
            if isinstance(item, Gap):
                found.append("gap")
            elif found and isinstance(found[-1], float):
                found[-1] = round(found[-1] + len(item) / SAMPLE_RATE, 3)
            else:
                found.append(round(len(item) / SAMPLE_RATE, 3))
    return found


async def test_audio_from_before_the_first_look_is_not_lost() -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server) as microphone:
        listening = microphone.listen(standings)
        (await server.recorder()).say(0.02)
        assert (await standings.phase("live")).source == MIC
        listening.stop()
        assert await rest(listening) == [0.02]


async def test_nothing_is_recorded_once_nobody_listens() -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server) as microphone:
        listening = microphone.listen(standings)
        recorder = await server.recorder()
        recorder.say(0.02)
        await standings.phase("live")
        listening.close()
        assert microphone.standing.phase == "off"
    assert recorder.closed


async def test_what_is_said_right_before_a_stop_is_heard() -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server) as microphone:
        listening = microphone.listen(standings)
        recorder = await server.recorder()
        recorder.say(0.02)
        await standings.phase("live")
        listening.stop()
        recorder.say(0.04)  # on its way when the key was pressed
        assert await rest(listening) == [0.06]


async def test_an_interruption_leaves_a_gap_and_goes_on_with_another_recorder() -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server) as microphone:
        listening = microphone.listen(standings)
        recorder = await server.recorder(0)
        recorder.say(1.0)
        await standings.phase("live")
        recorder.end()
        interrupted = await standings.phase("interrupted")
        assert "Connection terminated" in interrupted.problem
        (await server.recorder(1)).say(0.5)
        await standings.phase("live")
        listening.stop()
        assert await rest(listening) == [1.0, "gap", 0.5]


async def test_what_the_loudspeakers_play_is_never_heard_in_place_of_the_microphone() -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server) as microphone:
        listening = microphone.listen(standings)
        recorder = await server.recorder(0)
        recorder.say(1.0)
        await standings.phase("live")
        server.change(MONITOR, default="speaker.monitor")
        assert (await standings.phase("interrupted")).problem == "no microphone is plugged in"
        recorder.say(3.0)
        server.change(MONITOR, HEADSET, default="headset")
        (await server.recorder(1)).say(0.5)
        assert (await standings.phase("live")).source == HEADSET
        listening.stop()
        assert await rest(listening) == [1.0, "gap", 0.5]


async def test_a_ring_keeps_the_last_moment_and_gives_it_once() -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server, ring_seconds=1.0) as microphone:
        microphone.keep_open()
        recorder = await server.recorder()
        recorder.say(0.1)
        first = microphone.listen(standings)
        await standings.phase("live")
        first.close()
        await rest(first)
        for _ in range(20):
            recorder.say(0.1)
        await recorder.heard()
        second = microphone.listen(standings)
        second.close()
        assert await rest(second) == [1.0]
        third = microphone.listen(standings)
        third.close()
        assert await rest(third) == []


async def test_without_a_ring_nothing_is_open_before_somebody_listens() -> None:
    server = FakeSoundServer()
    async with opened(server) as microphone:
        microphone.keep_open()
        assert microphone.standing.phase == "off"
    assert not server.recorders


async def test_a_machine_that_sleeps_has_no_microphone_open_and_goes_on_when_it_wakes() -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server) as microphone:
        listening = microphone.listen(standings)
        recorder = await server.recorder(0)
        recorder.say(1.0)
        await standings.phase("live")
        microphone.sleep()
        assert (await standings.phase("interrupted")).problem == "the machine sleeps"
        microphone.wake()
        (await server.recorder(1)).say(0.5)
        await standings.phase("live")
        assert recorder.closed
        listening.stop()
        assert await rest(listening) == [1.0, "gap", 0.5]


async def test_audio_that_nobody_reads_is_bounded_and_its_loss_is_a_gap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, standings = FakeSoundServer(), Standings()
    async with opened(server) as microphone:
        heard: list[int] = []
        all_heard = asyncio.Event()
        listening = microphone.listen(standings, lambda samples: _count(heard, len(samples), all_heard))
        recorder = await server.recorder()
        recorder.say(0.02)
        await standings.phase("live")
        for _ in range(round(QUEUE_SECONDS) + 5):
            recorder.say(1.0)
        async with asyncio.timeout(WAIT_SECONDS):
            await all_heard.wait()
        await anext(listening)
        await anext(listening)
        recorder.say(0.5)
        listening.stop()
        found = await rest(listening)
    assert found == [pytest.approx(QUEUE_SECONDS - 2, abs=1.0), "gap", 0.5]
    assert "audio is lost" in caplog.text


def _count(heard: list[int], samples: int, enough: asyncio.Event) -> None:
    heard.append(samples)
    if sum(heard) >= (QUEUE_SECONDS + 5) * SAMPLE_RATE:
        enough.set()
