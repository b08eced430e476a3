"""A whole recording: its bytes in, its results out, whichever protocol brought it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.client import ClientAudio
from parakeetd.entrance.incoming import recording_samples
from parakeetd.model.decoding import DecodeOptions
from parakeetd.session import Result, Sessions
from parakeetd.text import Pen, taken_back
from parakeetd.vad import Segmentation


@dataclass(slots=True)
class Recording:
    """A recording that is being recognised."""

    data: bytes
    audio: ClientAudio
    """Decodes the data."""
    model: str
    decode: DecodeOptions
    segmentation: Segmentation | None = None
    """How to cut it, when not as configured."""
    seconds: float = 0.0
    """Of it that have been decoded: all, in the end."""

    async def results(self, sessions: Sessions) -> AsyncGenerator[Result, None]:
        """Finals, as the model wrote them. Use it under `contextlib.aclosing`.

        Raises:
            What `Sessions.stream` raises; AudioError: it cannot be decoded, or is longer than the limit.
        """
        most = sessions.settings.max_recording_seconds
        async with (
            aclosing(recording_samples(self.data, self.audio, most)) as chunks,
            aclosing(
                sessions.stream(
                    self._counted(chunks),
                    model=self.model,
                    segmentation=self.segmentation,
                    decode=self.decode,
                )
            ) as results,
        ):
            async for result in results:
                yield result

    async def written(self, sessions: Sessions, pen: Pen) -> list[Result]:
        """All results, in the pen's style. What a spoken command takes back is not in them.

        Raises:
            As `results`.
        """
        async with aclosing(self.results(sessions)) as results:
            heard = [result async for result in results]
        # All of it is known: what a command takes back need not be answered first.
        texts = taken_back(pen.write(result.transcript, final=True) for result in heard)
        return [
            replace(result, transcript=text)
            for result, text in zip(heard, texts, strict=True)
            if text.text or not pen.spaces
        ]

    async def _counted(self, chunks: AsyncGenerator[Samples, None]) -> AsyncGenerator[Samples, None]:
        async for chunk in chunks:
            self.seconds += len(chunk) / SAMPLE_RATE
            yield chunk
