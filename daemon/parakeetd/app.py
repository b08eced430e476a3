"""The daemon: build, start, serve, reload, drain."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sdnotify import SystemdNotifier

from parakeetd import memory
from parakeetd.adapters import Adapters
from parakeetd.audio.sources.microphone import Microphone
from parakeetd.audio.sources.pulse import PulseServer
from parakeetd.config import Config, MicrophoneSettings, Paths, session_bus, watchdog_seconds
from parakeetd.desktop import DesktopBus
from parakeetd.dictation import Dictation, Microphones
from parakeetd.errors import ParakeetError
from parakeetd.rpc.server import RpcServer
from parakeetd.session import Sessions
from parakeetd.session.observer import NOBODY
from parakeetd.steward import Steward
from parakeetd.supervision import Supervised, supervise

if TYPE_CHECKING:
    from parakeetd.metrics import Metrics

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""At shutdown, time to answer the audio that was accepted, after clients had theirs to finish."""

CLOSE_SECONDS = 2.0
"""At shutdown, time for the worker threads to end. With the default grace all of it stays below 20 s."""


class Daemon:
    """Everything that `parakeetd serve` runs. Use it as an asynchronous context manager: entered it serves, left it has
    answered what it accepted and is gone."""

    def __init__(
        self,
        config: Config,
        paths: Paths,
        *,
        read: Callable[[], Config] | None = None,
        configuration: Path | None = None,
    ) -> None:
        """
        Args:
            config: to start with.
            read: reads the configuration for a reload; without it a reload finds the same again.
            configuration: the file that it reads, for people.

        Raises:
            ConfigError, ListenError: the configuration cannot be used.
        """
        self._metrics: Metrics | None = None
        if config.metrics.listen:
            # Only then is its library loaded.
            from parakeetd.metrics import Metrics

            self._metrics = Metrics(lambda: self.steward.standing())
        self._sessions = Sessions((), config.sessions, self._metrics or NOBODY, when_quiet=memory.give_back)
        self.steward = Steward(
            config,
            paths,
            self._sessions,
            read=read or (lambda: config),
            configuration=configuration,
            addresses=lambda: self.addresses + self.adapted,
        )
        self.dictation = Dictation(self._sessions, _microphones(config.microphone), self.steward.house)
        self._server = RpcServer(
            self._sessions,
            config.server.listen or paths.default_listen,
            self.steward.house,
            self.steward,
            dictation=self.dictation,
            access=config.access,
            limits=config.calls,
        )
        self._adapters = Adapters(
            self._sessions,
            self.steward.house,
            wyoming=config.adapters.wyoming,
            openai=config.adapters.openai,
            access=config.access,
            limits=config.calls,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens."""
        return self._server.addresses

    @property
    def adapted(self) -> tuple[str, ...]:
        """Where it listens for other protocols, each with its name."""
        return self._adapters.addresses

    @property
    def routers(self) -> tuple[Supervised, ...]:
        """What computes, while it serves."""
        return self.steward.routers

    async def __aenter__(self) -> Daemon:
        """
        Raises:
            ModelNotFound, BundleError, DeviceError, ConfigError, ListenError: it cannot start; nothing is left open.
        """
        # An address that is in use is told at once, and who looks meanwhile is told that the model is being loaded.
        await self._server.start(ready=False)
        try:
            await self._adapters.start()
            if self._metrics is not None:
                address = self._metrics.serve(self.steward.config.metrics.listen)
                log.info("metrics at http://%s/metrics", address)
            await self.steward.begin()
        except BaseException:
            await self._end(0.0, 0.0)
            raise
        self.steward.watch(self._changed)
        self.dictation.keep_ready()
        await self._server.be_ready()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._end(self.steward.config.server.drain_seconds, FLUSH_SECONDS)

    async def _end(self, grace_seconds: float, flush_seconds: float) -> None:
        # The microphone first: nobody expects to be heard by a daemon that ends.
        await self.dictation.close(flush_seconds)
        await self._server.drain(grace_seconds, flush_seconds)
        # All streams have been waited for there; what they answered is still to leave.
        await self._adapters.close()
        if not await self.steward.close(CLOSE_SECONDS):
            log.warning("a device did not finish its segment in time; it is abandoned")
        if self._metrics is not None:
            # Until now it has told of the ending.
            await asyncio.to_thread(self._metrics.close)

    async def awake(self) -> None:
        """The machine has slept."""
        self.dictation.wake()

    def _changed(self) -> None:
        self._server.use_house(self.steward.house)
        self._adapters.use_house(self.steward.house)
        self.dictation.house = self.steward.house


def _microphones(settings: MicrophoneSettings) -> Microphones:
    """None of them is open yet."""
    server, ring = PulseServer(), settings.ring_ms / 1000
    return Microphones(lambda device: Microphone(server, device, ring_seconds=ring), settings.device)


async def run(
    config: Config,
    paths: Paths,
    *,
    read: Callable[[], Config] | None = None,
    configuration: Path | None = None,
    say: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal does not wait for streams. SIGHUP reads the configuration again.

    Args:
        config: to start with.
        read: reads the configuration again.
        configuration: the file that it reads, for people.
        say: told in lines where it listens and that it is ready.
    """
    stop, hangup = _stop_signal(), _hangup_signal()
    systemd = SystemdNotifier()
    daemon = Daemon(config, paths, read=read, configuration=configuration)
    steward = daemon.steward
    systemd.notify(f"STATUS={steward.summary()}")
    async with daemon:
        for address in daemon.addresses:
            say(f"listening on {address}")
        for address in daemon.adapted:
            say(f"listening for {address}")
        say("ready")
        systemd.notify(f"READY=1\nSTATUS={steward.summary()}")
        steward.watch(lambda: systemd.notify(f"STATUS={steward.summary()}"))

        def notify(line: str) -> None:
            # Devices come and go by themselves: each sign of life says how it stands.
            systemd.notify(f"{line}\nSTATUS={steward.summary()}")

        with _reloading(steward, hangup, systemd), _on_dbus(daemon, config.microphone):
            async with supervise(
                lambda: daemon.routers,
                notify,
                watchdog_seconds=watchdog_seconds(),
                asleep=daemon.dictation.sleep,
                awake=daemon.awake,
            ):
                await stop.wait()
        say("finishing")
        systemd.notify(f"STOPPING=1\nSTATUS=finishing, {steward.standing().streams} streams are open")


@contextmanager
def _reloading(steward: Steward, hangup: asyncio.Event, systemd: SystemdNotifier) -> Iterator[None]:
    """Reload at each SIGHUP, meanwhile."""

    async def reload() -> None:
        while await hangup.wait():
            hangup.clear()
            # As systemd's Type=notify-reload wants to have it.
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                await steward.reload()
            except ParakeetError:
                log.debug("the steward has told why")
            except Exception:
                log.exception("the reload failed, all goes on as before")
            systemd.notify(f"READY=1\nSTATUS={steward.summary()}")

    task = asyncio.create_task(reload(), name="parakeetd-reload")
    try:
        yield
    finally:
        task.cancel()


@contextmanager
def _on_dbus(daemon: Daemon, settings: MicrophoneSettings) -> Iterator[None]:
    """Offer the microphone on the session bus, meanwhile, where there is one."""
    address = session_bus()
    if not settings.dbus or address is None:
        yield
        return
    task = asyncio.create_task(DesktopBus(daemon.dictation, address).run(), name="parakeetd-dbus")
    try:
        yield
    finally:
        task.cancel()


def _hangup_signal() -> asyncio.Event:
    """An event that SIGHUP sets."""
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    return hangup


def _stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. After the first, the same signal again ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_once() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_once)
    return stop
