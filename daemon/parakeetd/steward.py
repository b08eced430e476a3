"""Looks after the models of a running daemon: opens, replaces and closes them while streams go on."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from parakeetd import __version__
from parakeetd.changes import changed_keys, needs_restart
from parakeetd.config import Config, DeviceSettings, Paths, TextSettings, default_model
from parakeetd.engines import Opened, serve_devices
from parakeetd.errors import BundleError, Closed, InputError, Overloaded, ParakeetError
from parakeetd.measure.machine import resident_memory
from parakeetd.model.bundle import EMBEDDED, TOKENS, Bundle, find_bundle, installed_names
from parakeetd.model.decoding import decoders_of
from parakeetd.model.tokens import Vocabulary
from parakeetd.routing import Router
from parakeetd.rpc.standing import (
    InstalledModel,
    ModelStanding,
    Reloaded,
    Standing,
    State,
    device_standing,
    in_words,
)
from parakeetd.session import ServedModel, Sessions
from parakeetd.session.stream import MAX_UNDER_WAY
from parakeetd.text import HouseStyle, read_tables

log = logging.getLogger(__name__)

MOST_MODELS: Final = 4
"""Served at once: each takes its own memory."""

RETIRE_SECONDS: Final = 120.0
"""A model that was replaced has this long to answer what it has begun; what still waits then goes to the new one."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model at work."""

    bundle: Bundle
    settings: DeviceSettings
    opened: Opened
    served: ServedModel

    def is_still(self, bundle: Bundle, settings: DeviceSettings) -> bool:
        """Whether opening this would give the same again: the manifest has the sum of every file."""
        return self.bundle == bundle and self.settings == settings


class Steward:
    """Belongs to one event loop. What changes models happens one after the other."""

    def __init__(
        self,
        config: Config,
        paths: Paths,
        sessions: Sessions,
        *,
        read: Callable[[], Config],
        configuration: Path | None = None,
        addresses: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """
        Args:
            config: to start with.
            read: reads the configuration for a reload, as the daemon's command line completes it.
            configuration: the file that it reads, for people.
            addresses: where the daemon listens, for people.

        Raises:
            ConfigError: it cannot be used.
        """
        self._read = read
        self._paths = paths
        self._sessions = sessions
        self._configuration = configuration
        self._addresses = addresses
        self._begun = time.monotonic()
        self._one_change = asyncio.Lock()
        self._loaded: tuple[_Loaded, ...] = ()
        """The default first."""
        self._retiring: set[asyncio.Task[None]] = set()
        self._ending = False
        self._watchers: list[Callable[[], None]] = []
        self.config = config
        """That which holds now."""
        self.house = house_style(config.text)
        """How text is written."""

    @property
    def routers(self) -> tuple[Router, ...]:
        """What computes."""
        return tuple(loaded.opened.router for loaded in self._loaded)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call this whenever models or settings have changed."""
        self._watchers.append(changed)

    async def begin(self) -> None:
        """Open the default model and serve it.

        Raises:
            ModelNotFound, BundleError, DeviceError, ConfigError: it cannot be opened.
        """
        async with self._one_change:
            bundle = await asyncio.to_thread(self._bundle, self._default_name(self.config))
            if bundle.path == EMBEDDED:
                log.info(
                    "serving the embedded demo model, which knows letters, digits and short commands; "
                    "for a full one: pip install 'parakeetd[convert]' && parakeetd-convert list"
                )
            await self._serve([await self._open(bundle, self.config)])
            log.info("serving model %s", self._in_words(self._loaded[0]))

    async def close(self, seconds: float) -> bool:
        """Close all models. False when that took longer than so many seconds."""
        self._ending = True
        async with self._one_change:
            loaded, self._loaded = self._loaded, ()
            for retiring in self._retiring:
                retiring.cancel()
            closing = (asyncio.to_thread(one.opened.close, seconds) for one in loaded)
            return all(await asyncio.gather(*closing))

    # What follows is what the Control service asks for.

    async def load(self, name: str) -> ModelStanding:
        """Open a model beside those that serve; one that serves already stays as it is.

        Raises:
            ModelNotFound, BundleError, DeviceError: it cannot be opened; Overloaded: as many as may be are loaded;
            Closed: the daemon loads or ends.
        """
        async with self._one_change:
            self._check_serving()
            if (known := self._named(name)) is None:
                if len(self._loaded) >= MOST_MODELS:
                    raise Overloaded(
                        f"{len(self._loaded)} models are loaded, the limit is {MOST_MODELS}; "
                        "unload one with: parakeetd unload NAME"
                    )
                bundle = await asyncio.to_thread(self._bundle, name)
                known = await self._open(bundle, self.config)
                await self._serve([*self._loaded, known])
                log.info("loaded model %s", self._in_words(known))
            return self._standing_of(known)

    async def unload(self, name: str) -> None:
        """Close a model that was loaded; its streams go on with the default.

        Raises:
            InputError: it is not loaded, or is the default; Closed: the daemon loads or ends.
        """
        async with self._one_change:
            self._check_serving()
            if (known := self._named(name)) is None:
                served = ", ".join(one.served.name for one in self._loaded)
                raise InputError(f"model {name!r} is not loaded; loaded are: {served}")
            if known is self._loaded[0]:
                raise InputError(
                    f"model {name} is the default, which always serves; "
                    "put another in its place with: parakeetd reload --model NAME"
                )
            await self._serve([one for one in self._loaded if one is not known])
            log.info("unloaded model %s", name)

    async def reload(self, default: str = "") -> Reloaded:
        """Read the configuration again and open anew what has changed, in it or on disk.

        Args:
            default: the default model from now on; empty as configured.

        Raises:
            ConfigError, ModelNotFound, BundleError, DeviceError: nothing has changed; Closed: the daemon loads or ends.
        """
        async with self._one_change:
            self._check_serving()
            try:
                return await self._reload(default)
            except ParakeetError as error:
                log.warning("reload refused, all goes on as before: %s", error)
                raise

    def standing(self) -> Standing:
        """How the daemon stands. May be called from any thread."""
        loaded = self._loaded
        state: State = "draining" if self._sessions.draining or self._ending else "serving"
        return Standing(
            state if loaded or state == "draining" else "loading",
            self.summary(),
            __version__,
            os.getpid(),
            time.monotonic() - self._begun,
            self._addresses(),
            tuple(map(self._standing_of, loaded)),
            self._sessions.active,
            self._sessions.settings.max_streams,
            resident_memory(os.getpid()),
            str(self._configuration or ""),
        )

    def summary(self) -> str:
        """Model and devices in words: one line."""
        loaded = self._loaded
        if self._sessions.draining or self._ending:
            return f"finishing, {self._sessions.active} streams are open"
        if not loaded:
            return "loading"
        return "serving " + ", ".join(map(self._in_words, loaded))

    def installed(self) -> Sequence[InstalledModel]:
        """All models on disk. Reads their manifests.

        Raises:
            InputError: their folder cannot be read.
        """
        return list(self._installed())

    def _installed(self) -> Iterator[InstalledModel]:
        loaded = self._loaded
        for name in installed_names(self._paths.models):
            serves = name in [one.served.name for one in loaded]
            is_default = bool(loaded) and loaded[0].served.name == name
            try:
                bundle = find_bundle(name, self._paths.models)
            except (BundleError, InputError) as error:
                path = self._paths.models / name
                yield InstalledModel(name, path, (), (), serves, is_default, str(error))
                continue
            manifest = bundle.manifest
            yield InstalledModel(
                name, bundle.path, manifest.languages, manifest.precisions, serves, is_default
            )

    async def _reload(self, default: str) -> Reloaded:
        config = self._read()
        if default:
            config = replace(config, model=replace(config.model, name=default))
        # All that can be wrong is found before anything changes.
        house = await asyncio.to_thread(house_style, config.text)
        names = [self._default_name(config), *(one.served.name for one in self._loaded[1:])]
        bundles = [await asyncio.to_thread(self._bundle, name) for name in dict.fromkeys(names)]
        loaded, opened = [], []
        try:
            for bundle in bundles:
                one = next((old for old in self._loaded if old.is_still(bundle, config.device)), None)
                if one is None:
                    one = await self._open(bundle, config)
                    opened.append(one)
                loaded.append(one)
        except BaseException:
            for one in opened:
                self._retire(one)
            raise
        keys = changed_keys(self.config, config)
        changes = (*_changes(self._loaded, loaded), *self._different(config, keys))
        self.config, self.house = config, house
        self._sessions.settings = config.sessions
        for one in loaded:
            one.opened.router.make_room(_room(config))
        await self._serve(loaded)
        later = tuple(key for key in keys if needs_restart(key))
        for change in changes:
            log.info("reloaded: %s", change)
        if later:
            log.warning("changed, and will hold from the next start on: %s", ", ".join(later))
        if not (changes or later):
            log.info("reloaded: nothing has changed")
        return Reloaded(changes, later)

    def _different(self, config: Config, keys: Collection[str]) -> Iterator[str]:
        for key in keys:
            if not needs_restart(key) and key != "model.name":
                table, name = key.split(".")
                yield f"{key} = {getattr(getattr(config, table), name)}"

    async def _open(self, bundle: Bundle, config: Config) -> _Loaded:
        writes_punctuation = Vocabulary.read(bundle.path / TOKENS).has_punctuation
        # Opening takes seconds for a large model: meanwhile all others are served.
        opened = await asyncio.to_thread(
            serve_devices, bundle, config.device, max_queued=_room(config), tables=self._paths.calibration
        )
        served = ServedModel(
            bundle.name,
            bundle.manifest.languages,
            opened.router,
            decoders_of(bundle.manifest.architecture),
            writes_punctuation,
            opened.biasing,
        )
        return _Loaded(bundle, config.device, opened, served)

    async def _serve(self, loaded: Sequence[_Loaded]) -> None:
        """Send all later segments to these, and close the others."""
        before, self._loaded = self._loaded, tuple(loaded)
        await self._sessions.models.become([one.served for one in loaded])
        for one in before:
            if one not in loaded:
                self._retire(one)
        for one in loaded:
            if one not in before and one.opened.measuring is not None:
                one.opened.measuring.start()
        for changed in self._watchers:
            changed()

    def _retire(self, one: _Loaded) -> None:
        task = asyncio.create_task(_closed(one), name=f"parakeetd-retire-{one.served.name}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _bundle(self, name: str) -> Bundle:
        return find_bundle(name, self._paths.models)

    def _default_name(self, config: Config) -> str:
        return config.model.name or default_model(installed_names(self._paths.models))

    def _named(self, name: str) -> _Loaded | None:
        return next((one for one in self._loaded if one.served.name == name), None)

    def _check_serving(self) -> None:
        if self._ending or self._sessions.draining:
            raise Closed("the daemon is shutting down")
        if not self._loaded:
            raise Closed("the daemon is loading its model; try again in a moment")

    def _standing_of(self, one: _Loaded) -> ModelStanding:
        name, router = one.served.name, one.opened.router
        return ModelStanding(
            name,
            one.bundle.path,
            one.served.languages,
            self._loaded[:1] == (one,),
            self._sessions.models.streams(name),
            router.queued,
            tuple(map(device_standing, router.devices())),
        )

    def _in_words(self, one: _Loaded) -> str:
        return in_words(self._standing_of(one))


def house_style(settings: TextSettings) -> HouseStyle:
    """How text is written, by these settings.

    Raises:
        ConfigError: a table cannot be read.
    """
    return HouseStyle(
        read_tables(settings.commands_file, settings.profanity_file),
        commands=bool(settings.commands),
        always_punctuation=settings.punctuation == "always",
    )


def _changes(before: Sequence[_Loaded], after: Sequence[_Loaded]) -> Iterator[str]:
    """What is different about the models, a line each."""
    if before[0].served.name != after[0].served.name:
        yield f"model {after[0].served.name} instead of {before[0].served.name}"
    known = {one.served.name: one for one in before}
    for one in after:
        old = known.get(one.served.name)
        if old is not None and old is not one:
            why = "its device settings" if old.bundle == one.bundle else "its files"
            yield f"model {one.served.name} opened anew: {why} have changed"


async def _closed(one: _Loaded) -> None:
    """Close a model that no new segment goes to."""
    if await asyncio.to_thread(one.opened.close, RETIRE_SECONDS):
        log.info("model %s, which was replaced or unloaded, is closed", one.served.name)
    else:
        log.warning("model %s was replaced and did not finish in time; it is abandoned", one.served.name)


def _room(config: Config) -> int:
    """Segments that may wait for a model: all that its streams may have under way."""
    return config.sessions.max_streams * MAX_UNDER_WAY
