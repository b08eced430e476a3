"""The two watches over a running daemon, started and ended together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from parakeetd.errors import ParakeetError
from parakeetd.model.sessions import Device
from parakeetd.routing.progress import Progress
from parakeetd.routing.router import DeviceReport
from parakeetd.supervision.sleep import BEFORE_SECONDS, SleepWatch
from parakeetd.supervision.watchdog import feed

log = logging.getLogger(__name__)

GPU: Final[Device] = "cuda"

LEAVE_SECONDS: Final = BEFORE_SECONDS - 1.5
"""Before sleep, time for the GPU to answer its batch; a process that is killed then is gone a second later."""


class Supervised(Protocol):
    """What is watched over: `parakeetd.routing.Router`."""

    def progress(self) -> Progress: ...

    def devices(self) -> list[DeviceReport]: ...

    def suspend(self, device: Device, timeout: float, /) -> bool: ...

    def resume(self, device: Device, /) -> None: ...

    def open(self, device: Device, /) -> None: ...


@asynccontextmanager
async def supervise(
    routers: Callable[[], Iterable[Supervised]],
    notify: Callable[[str], None],
    *,
    watchdog_seconds: float | None,
    asleep: Callable[[], None] | None = None,
    awake: Callable[[], Awaitable[None]] | None = None,
    sleep_watch: Callable[..., SleepWatch] = SleepWatch,
) -> AsyncIterator[None]:
    """Feed systemd's watchdog and have the GPU left before the machine sleeps, meanwhile.

    Args:
        routers: those that are at work; asked again each time.
        notify: sends a line to systemd.
        watchdog_seconds: what systemd expects; None when it does not.
        asleep: called first, before sleep.
        awake: called after sleep, when the GPU may be used again.
    """
    rest = _Rest(routers, asleep, awake)
    tasks = [asyncio.create_task(sleep_watch(rest.before, rest.after).run(), name="parakeetd-sleep")]
    if watchdog_seconds is not None:
        watch = feed(notify, watchdog_seconds, lambda: [router.progress() for router in routers()])
        tasks.append(asyncio.create_task(watch, name="parakeetd-watchdog"))
    for task in tasks:
        task.add_done_callback(_tell)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Rest:
    """The GPU's engine leaves before sleep and comes back after it, if it was there."""

    def __init__(
        self,
        routers: Callable[[], Iterable[Supervised]],
        asleep: Callable[[], None] | None,
        awake: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._routers = routers
        self._asleep = asleep
        self._awake = awake
        self._left: list[Supervised] = []
        """Routers whose GPU was at work."""

    async def before(self) -> None:
        if self._asleep is not None:
            self._asleep()
        routers = list(self._routers())
        self._left = [router for router in routers if _on_gpu(router)]
        gone = await asyncio.gather(
            *(asyncio.to_thread(router.suspend, GPU, LEAVE_SECONDS) for router in routers)
        )
        if not all(gone):
            log.warning("the GPU's engine did not leave in time for sleep")

    async def after(self) -> None:
        routers, left = list(self._routers()), self._left
        for router in {id(router): router for router in (*routers, *left)}.values():
            router.resume(GPU)
        if self._awake is not None:
            await self._awake()
        for router in left:
            try:
                await asyncio.to_thread(router.open, GPU)
            except ParakeetError as error:
                # The other device serves, and this one is tried again when it would be of use.
                log.warning("after sleep: %s", error)
        self._left = []


def _on_gpu(router: Supervised) -> bool:
    return any(report.device == GPU and report.engine in ("open", "opening") for report in router.devices())


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended: %s", task.get_name(), error, exc_info=error)
