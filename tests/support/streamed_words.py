"""Word errors of recordings that are streamed to the real server, against those of the recordings as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from live_load import listen
from parakeetd.audio.sources.file import read_audio
from speech_load import Track

ALLOWED_POINTS = 0.3
"""By which streaming may be worse. Better is no fault: a model hears some words only after another pause."""


@dataclass(frozen=True)
class Bar:
    """Word error rates of one set of recordings, in percent; None where there is nothing to count."""

    name: str
    whole: float | None
    streamed: float | None

    @property
    def difference(self) -> float | None:
        """Points by which streaming is worse; below 0: better."""
        return None if self.whole is None or self.streamed is None else self.streamed - self.whole

    @property
    def held(self) -> bool:
        """False also when it could not be judged."""
        # Rates have two decimals where they are shown: 0.30 is not more than 0.3.
        return self.difference is not None and round(self.difference, 2) <= ALLOWED_POINTS

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.name:25} not judged: nothing to count"
        return (
            f"{self.name:25} whole {self.whole:6.2f}  streamed {self.streamed:6.2f}  "
            f"{self.difference:+.2f} points  {'ok' if self.held else 'MISSED'}"
        )


@dataclass(frozen=True)
class Streamed:
    texts: Mapping[Path, str]
    """Finals of each recording's stream, joined."""
    late_p99: float
    """Seconds by which messages left too late; 0 without a pace."""


def stream_all(address: str, files: Sequence[Path], *, pace: float, streams: int) -> Streamed:
    """Stream each recording to a daemon, so many at a time, the longest first.

    Args:
        pace: times the speed of speech; 0 for as fast as it is taken.
    """
    return asyncio.run(_stream_all(address, files, pace, streams))


async def _stream_all(address: str, files: Sequence[Path], pace: float, streams: int) -> Streamed:
    room = asyncio.Semaphore(streams)
    texts: dict[Path, str] = {}
    late: list[float] = []

    async def one(file: Path) -> None:
        async with room:
            heard = await listen(
                address, Track(read_audio(file), ()), interim=False, chunk_seconds=0.1, pace=pace
            )
        texts[file] = " ".join(said.text for said in heard.results if said.final)
        late.extend(heard.late)

    async with asyncio.TaskGroup() as tasks:
        for file in sorted(files, key=lambda file: file.stat().st_size, reverse=True):
            tasks.create_task(one(file))
    late.sort()
    return Streamed(texts, late[len(late) * 99 // 100] if late else 0.0)
