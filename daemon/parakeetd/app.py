"""The daemon: build, start, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack

from sdnotify import SystemdNotifier

from parakeetd.config import Config, Paths, TextSettings, default_model, watchdog_seconds
from parakeetd.engines import serve_devices
from parakeetd.model.bundle import EMBEDDED, TOKENS, Bundle, find_bundle, installed_names
from parakeetd.model.decoding import decoders_of
from parakeetd.model.tokens import Vocabulary
from parakeetd.rpc.server import RpcServer
from parakeetd.session import ServedModel, Sessions
from parakeetd.session.stream import MAX_UNDER_WAY
from parakeetd.supervision import Supervised, supervise
from parakeetd.text import HouseStyle, read_tables

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""At shutdown, time to answer the audio that was accepted, after clients had theirs to finish."""

CLOSE_SECONDS = 2.0
"""At shutdown, time for the worker threads to end. With the default grace all of it stays below 20 s."""


class Daemon:
    """Everything that `parakeetd serve` runs. Use it as an asynchronous context manager: entered it serves, left it has
    answered what it accepted and is gone."""

    def __init__(self, config: Config, paths: Paths) -> None:
        self._config = config
        self._paths = paths
        self._server: RpcServer | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens."""
        return self._server.addresses if self._server else ()

    @property
    def routers(self) -> tuple[Supervised, ...]:
        """What computes, while it serves."""
        return (self._opened.router,)

    async def __aenter__(self) -> Daemon:
        """
        Raises:
            ModelNotFound, BundleError, DeviceError, ConfigError, ListenError: it cannot start; nothing is left open.
        """
        config = self._config
        house = _house_style(config.text)
        bundle = self._bundle()
        with ExitStack() as undo:
            room = config.server.max_streams * MAX_UNDER_WAY
            # Loading takes seconds for a large model; a signal that comes meanwhile is still heard.
            self._opened = await asyncio.to_thread(
                serve_devices, bundle, config.device, max_queued=room, tables=self._paths.calibration
            )
            undo.callback(self._opened.close, CLOSE_SECONDS)
            served = ServedModel(
                bundle.name,
                bundle.manifest.languages,
                self._opened.router,
                decoders_of(bundle.manifest.architecture),
                Vocabulary.read(bundle.path / TOKENS).has_punctuation,
                self._opened.biasing,
            )
            addresses = config.server.listen or self._paths.default_listen
            self._server = RpcServer(Sessions((served,), config.sessions), addresses, house)
            await self._server.start()
            undo.pop_all()
        devices = ", ".join(report.device for report in self._opened.router.devices())
        log.info("serving model %s on %s", bundle.name, devices)
        if self._opened.measuring is not None:
            self._opened.measuring.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._server is not None:
            await self._server.drain(self._config.server.drain_seconds, FLUSH_SECONDS)
        if not await asyncio.to_thread(self._opened.close, CLOSE_SECONDS):
            log.warning("a device did not finish its segment in time; it is abandoned")

    def _bundle(self) -> Bundle:
        installed = installed_names(self._paths.models)
        bundle = find_bundle(self._config.model.name or default_model(installed), self._paths.models)
        if bundle.path == EMBEDDED:
            log.info(
                "serving the embedded demo model, which knows letters, digits and short commands; "
                "for a full one: pip install 'parakeetd[convert]' && parakeetd-convert list"
            )
        return bundle


def _house_style(settings: TextSettings) -> HouseStyle:
    return HouseStyle(
        read_tables(settings.commands_file, settings.profanity_file),
        commands=bool(settings.commands),
        always_punctuation=settings.punctuation == "always",
    )


async def run(config: Config, paths: Paths, *, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second signal does not wait for streams.

    Args:
        say: told in lines where it listens and that it is ready.
    """
    stop = _stop_signal()
    notifier = SystemdNotifier()
    async with Daemon(config, paths) as daemon:
        for address in daemon.addresses:
            say(f"listening on {address}")
        say("ready")
        notifier.notify("READY=1")
        async with supervise(lambda: daemon.routers, notifier.notify, watchdog_seconds=watchdog_seconds()):
            await stop.wait()
        say("finishing")
        notifier.notify("STOPPING=1")


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
