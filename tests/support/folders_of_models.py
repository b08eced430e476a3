"""Models that are folders on disk, engines without a model, and who speaks to a steward of them."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from loud_speech import speech
from parakeetd.audio import Samples
from parakeetd.config import (
    Config,
    DeviceSettings,
    ModelSettings,
    Paths,
    VadSettings,
)
from parakeetd.engines import Opened
from parakeetd.errors import ConfigError
from parakeetd.model.biasing import Biasing
from parakeetd.model.bundle import EMBEDDED, MANIFEST, Bundle
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word
from parakeetd.routing import Router
from parakeetd.session import Result, Sessions
from parakeetd.steward import Steward
from parakeetd.vad import Segmentation

WAIT_SECONDS = 30.0
CUT = Segmentation(end_silence_ms=100, trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=2_000, overlap_ms=0)


class NamedEngine:
    """Answers everything with the name of its model; waits at the gate before each answer."""

    def __init__(self, name: str, gate: threading.Event) -> None:
        self.name = name
        self.gate = gate
        self.begun = threading.Event()

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        self.begun.set()
        self.gate.wait()
        return [Transcript(self.name, (Word(self.name, 0.0, 0.5, 1.0),), confidence=1.0) for _ in audio]


class Machine:
    """Folders of models, the engines that were opened on them, and a configuration that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder / "config.toml", folder / "models", folder / "calibration", None)
        self.config: Config | ConfigError = config()
        self.engines: list[NamedEngine] = []
        self.gate = threading.Event()
        """Of engines that are opened from now on."""
        self.gate.set()
        self.all_gates = [self.gate]

    def install(self, *names: str) -> None:
        for name in names:
            folder = self.paths.models / name
            shutil.copytree(EMBEDDED, folder)
            self.change(name, name=name)

    def change(self, model: str, **fields: object) -> None:
        """Another manifest for an installed model."""
        file = self.paths.models / model / MANIFEST
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    def close_gate(self) -> threading.Event:
        self.gate = threading.Event()
        self.all_gates.append(self.gate)
        return self.gate

    def read(self) -> Config:
        if isinstance(self.config, ConfigError):
            raise self.config
        return self.config

    def serve_devices(
        self, bundle: Bundle, settings: DeviceSettings, *, max_queued: int, tables: Path | None
    ) -> Opened:
        def open_engine() -> NamedEngine:
            self.engines.append(NamedEngine(bundle.name, self.gate))
            return self.engines[-1]

        router = Router({"cpu": open_engine}, max_queued=max_queued)
        router.open("cpu")
        return Opened(router, Biasing.of(bundle))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Steward, Sessions]]:
        sessions = Sessions((), self.read().sessions)
        steward = Steward(self.read(), self.paths, sessions, read=self.read)
        await steward.begin()
        try:
            yield steward, sessions
        finally:
            for gate in self.all_gates:
                gate.set()
            assert await steward.close(WAIT_SECONDS)


def config(name: str = "one") -> Config:
    # Without detection, so that what is cut follows from lengths alone.
    return Config(model=ModelSettings(name), vad=VadSettings(detector="off"), segmentation=CUT)


class Speaker:
    """A stream whose speech comes when the test says so."""

    def __init__(self, sessions: Sessions, **options: object) -> None:
        self._chunks: asyncio.Queue[Samples | None] = asyncio.Queue()
        self._heard: asyncio.Queue[Result | None] = asyncio.Queue()
        self.results: list[Result] = []
        self._task = asyncio.create_task(self._listen(sessions, **options))

    def say(self) -> None:
        """Two seconds: a segment."""
        self._chunks.put_nowait(speech(2.0))

    async def hears(self) -> str:
        async with asyncio.timeout(WAIT_SECONDS):
            result = await self._heard.get()
        if result is None:
            await self._task
            return "(nothing more)"
        return result.text

    async def ends(self) -> None:
        self._chunks.put_nowait(None)
        async with asyncio.timeout(WAIT_SECONDS):
            await self._task

    async def _listen(self, sessions: Sessions, **options: object) -> None:
        try:
            async with aclosing(sessions.stream(self._spoken(), **options)) as results:  # type: ignore[arg-type]
                async for result in results:
                    self.results.append(result)
                    self._heard.put_nowait(result)
        finally:
            self._heard.put_nowait(None)

    async def _spoken(self) -> AsyncIterator[Samples]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
