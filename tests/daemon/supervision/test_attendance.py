"""What a daemon does for its machine while it serves: signs of life, and a GPU that is left before sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from parakeetd.errors import DeviceError
from parakeetd.model.sessions import Device
from parakeetd.routing.engine_record import EngineState
from parakeetd.routing.progress import Progress
from parakeetd.routing.router import DeviceReport
from parakeetd.supervision import SleepWatch, supervise

PATIENCE_SECONDS = 30.0


class StandIn:
    """A router of which only the GPU's engine is known."""

    def __init__(self, engine: EngineState = "open", *, leaves: bool = True, opens: bool = True) -> None:
        self.engine = engine
        self.said: list[str] = []
        self._leaves = leaves
        self._opens = opens

    def progress(self) -> Progress:
        return Progress(0, 0.0, 10.0)

    def devices(self) -> list[DeviceReport]:
        return [DeviceReport("cuda", True, 0, None, 1.0, self.engine)]

    def suspend(self, device: Device, timeout: float, /) -> bool:
        self.said.append(f"suspend {device}")
        self.engine = "suspended"
        return self._leaves

    def resume(self, device: Device, /) -> None:
        self.said.append(f"resume {device}")
        self.engine = "closed"

    def open(self, device: Device, /) -> None:
        self.said.append(f"open {device}")
        if not self._opens:
            raise DeviceError(device, "the driver is not back yet")


class Sleeper(SleepWatch):
    """Sleeps once, at once."""

    slept = asyncio.Event()

    def __init__(self, before: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]) -> None:
        super().__init__(before, after)
        self._sequence = (before, after)

    async def run(self) -> None:
        for step in self._sequence:
            await step()
        self.slept.set()


async def through_one_sleep(*routers: StandIn, awake: Callable[[], Awaitable[None]] | None = None) -> None:
    Sleeper.slept = asyncio.Event()
    async with supervise(
        lambda: routers, lambda line: None, watchdog_seconds=None, awake=awake, sleep_watch=Sleeper
    ):
        await asyncio.wait_for(Sleeper.slept.wait(), PATIENCE_SECONDS)


async def test_a_gpu_that_was_at_work_leaves_before_sleep_and_comes_back() -> None:
    router = StandIn()
    await through_one_sleep(router)
    assert router.said == ["suspend cuda", "resume cuda", "open cuda"]


async def test_a_gpu_that_was_not_at_work_is_kept_away_meanwhile_and_not_woken() -> None:
    router = StandIn("closed")
    await through_one_sleep(router)
    assert router.said == ["suspend cuda", "resume cuda"]


async def test_each_model_has_its_own() -> None:
    working, resting = StandIn(), StandIn("closed")
    await through_one_sleep(working, resting)
    assert working.said[-1] == "open cuda"
    assert resting.said[-1] == "resume cuda"


async def test_what_else_sleeps_is_told_when_the_gpu_may_be_used_again() -> None:
    router = StandIn()

    async def awake() -> None:
        router.said.append("awake")

    await through_one_sleep(router, awake=awake)
    assert router.said == ["suspend cuda", "resume cuda", "awake", "open cuda"]


async def test_a_gpu_that_does_not_come_back_is_said_and_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    router = StandIn(opens=False)
    await through_one_sleep(router)
    assert "after sleep: device cuda: the driver is not back yet" in caplog.text


async def test_a_gpu_that_does_not_leave_is_said(caplog: pytest.LogCaptureFixture) -> None:
    await through_one_sleep(StandIn(leaves=False))
    assert "did not leave in time" in caplog.text


async def test_the_watchdog_is_fed_when_systemd_expects_it() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    async with supervise(lambda: [StandIn()], told.put_nowait, watchdog_seconds=0.001, sleep_watch=Sleeper):
        assert await asyncio.wait_for(told.get(), PATIENCE_SECONDS) == "WATCHDOG=1"


async def test_a_watch_that_fails_is_said(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    def routers() -> list[StandIn]:
        failed.set()
        raise RuntimeError("no routers")

    async with supervise(routers, lambda line: None, watchdog_seconds=1.0, sleep_watch=Sleeper):
        await asyncio.wait_for(failed.wait(), PATIENCE_SECONDS)
        await asyncio.sleep(0)
    assert "parakeetd-watchdog ended: no routers" in caplog.text
