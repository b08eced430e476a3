"""The sound server, PulseAudio or PipeWire's stand-in for it, through its own commands.

`parec` and `pactl` are children of ours: a server that dies, hangs or crashes its clients cannot take the daemon along,
and the end of a recording is the end of a file.
"""

from __future__ import annotations

import asyncio
import json
import logging
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.capture import Listing, Source

_log = logging.getLogger(__name__)

LATENCY_MS: Final = 20
"""Of audio in a piece. With 10 ms the processor is woken twice as often, for words that are no sooner."""

ANSWER_SECONDS: Final = 2.0
"""A server that has not answered by then hangs."""

MARK: Final = "parakeetd.recorder"
"""Property of a recording that tells it from others."""

READ_BYTES: Final = 1 << 15

_ENGLISH: Final = ("env", "LC_ALL=C.UTF-8")
"""Figures in other languages have commas, which JSON does not know."""


class Recording(Protocol):
    """A recorder that runs."""

    async def read(self) -> bytes:
        """The next bytes of 16-bit samples at 16 kHz, mono; empty at the end."""
        ...

    async def reason(self) -> str:
        """Why it ended, in its own words."""
        ...

    async def close(self) -> None: ...


class SoundServer(Protocol):
    """What a microphone needs of a sound server."""

    async def look(self, mark: str) -> Listing | str:
        """Its sources, and which of them the recorder with this mark is at; or why it does not say."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yields when something about sources is different; ends when the server does."""
        ...

    async def record(self, source: str, mark: str) -> Recording:
        """Start a recorder.

        Args:
            source: a name; empty for the default.

        Raises:
            OSError: it cannot be started.
        """
        ...


@dataclass(frozen=True, slots=True)
class Parec:
    """A `parec` that runs."""

    process: Process

    async def read(self) -> bytes:
        return await self.process.stdout.read(READ_BYTES) if self.process.stdout else b""

    async def reason(self) -> str:
        said = await self.process.stderr.read(READ_BYTES) if self.process.stderr else b""
        return _first_line(said)

    async def close(self) -> None:
        await _ended(self.process)


class PulseServer:
    """The server that `parec` and `pactl` find: by `$PULSE_SERVER`, or the user's own."""

    async def look(self, mark: str) -> Listing | str:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answers = await asyncio.gather(
                    _answer("info"), _answer("list", "sources"), _answer("list", "source-outputs")
                )
        except TimeoutError:
            return "the sound server does not answer"
        except FileNotFoundError:
            return MISSING
        except OSError as error:
            return f"pactl cannot be run: {error.strerror or error}"
        except ValueError as error:
            _log.debug("pactl: %s", error)
            return f"the sound server does not answer: {error}"
        return read_listing(*answers, mark=mark)

    async def changes(self) -> AsyncIterator[None]:
        try:
            process = await asyncio.create_subprocess_exec(
                *_ENGLISH, "pactl", "subscribe", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
            )
        except OSError:
            return
        try:
            while process.stdout and (line := await process.stdout.readline()):
                if concerns_sources(line.decode(errors="replace")):
                    yield
        finally:
            await _ended(process)

    async def record(self, source: str, mark: str) -> Recording:
        process = await asyncio.create_subprocess_exec(
            "parec",
            "--raw",
            "--format=s16le",
            f"--rate={SAMPLE_RATE}",
            "--channels=1",
            f"--latency-msec={LATENCY_MS}",
            "--client-name=parakeetd",
            "--stream-name=speech recognition",
            f"--property={MARK}={mark}",
            *([f"--device={source}"] if source else []),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        return Parec(process)


MISSING: Final = (
    "parec and pactl are missing; install them with your system's packages, for example: "
    "apt-get install pulseaudio-utils"
)


def read_listing(info: Any, sources: Any, outputs: Any, *, mark: str) -> Listing:
    """What `pactl --format=json` says of the server, its sources and its recordings."""
    names = {source.get("index"): source["name"] for source in sources}
    ours = (output for output in outputs if output.get("properties", {}).get(MARK) == mark)
    recorded = next((names.get(output.get("source"), "") for output in ours), "")
    return Listing(tuple(map(_source, sources)), info.get("default_source_name") or "", recorded)


def concerns_sources(line: str) -> bool:
    """Whether a line of `pactl subscribe` is about sources, recordings or the default; clients come and go all the
    time, our own questions among them."""
    return any(f" on {what} #" in line for what in ("source", "source-output", "server"))


def _source(row: dict[str, Any]) -> Source:
    properties = row.get("properties", {})
    return Source(
        row["name"],
        row.get("description") or properties.get("device.description") or "",
        monitor=properties.get("device.class") == "monitor" or bool(row.get("monitor_source")),
        suspended=row.get("state") == "SUSPENDED",
        muted=bool(row.get("mute")),
    )


async def _answer(*question: str) -> Any:
    """What pactl answers.

    Raises:
        OSError: it cannot be run.
        ValueError: it has no answer, or one that is no JSON; the message is its own.
    """
    process = await asyncio.create_subprocess_exec(
        *_ENGLISH, "pactl", "--format=json", *question, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        await _ended(process)
    if process.returncode == 127:
        raise FileNotFoundError("pactl")
    if process.returncode:
        raise ValueError(_first_line(err) or f"exit code {process.returncode}")
    return json.loads(out.decode(errors="replace"))


def _first_line(said: bytes) -> str:
    return next((line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()), "")


async def _ended(process: Process) -> None:
    """End a child and take note of its end."""
    with suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
    await process.wait()
