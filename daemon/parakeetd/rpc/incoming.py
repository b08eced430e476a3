"""The messages of one Riva client's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from parakeetd.audio import Samples
from parakeetd.audio.sources.client import ClientAudio
from parakeetd.entrance import incoming
from parakeetd.entrance.incoming import Patience
from parakeetd.errors import Closed, IdleTimeout, InputError
from parakeetd.rpc import wire
from parakeetd_proto import riva_asr_pb2 as asr

SETTLE_SECONDS: Final = 0.02
"""A client that was killed looks like one that has finished until its cancellation arrives, right after."""


async def first_message(
    requests: AsyncIterator[asr.StreamingRecognizeRequest], limit_seconds: float, closing: asyncio.Event
) -> asr.StreamingRecognizeRequest:
    """The first message of a stream.

    Args:
        closing: set when the daemon takes no new streams any more.

    Raises:
        IdleTimeout: it did not come in time.
        Closed: the daemon shuts down before.
        InputError: the stream ended before it.
    """
    first = asyncio.ensure_future(anext(requests, None))
    closed = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait({first, closed}, timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            if closed.done():
                raise Closed("the daemon is shutting down and takes no new streams")
            raise IdleTimeout(
                f"nothing was sent for {limit_seconds:g} s (limits.idle_seconds); the first message must carry "
                "streaming_config"
            )
        if (request := first.result()) is None:
            raise InputError("the stream ended before its first message, which must carry streaming_config")
        return request
    finally:
        first.cancel()
        closed.cancel()


def stream_samples(
    requests: AsyncIterator[asr.StreamingRecognizeRequest], audio: ClientAudio, patience: Patience
) -> AsyncGenerator[Samples, None]:
    """The audio of all messages after the first, decoded; an empty array where a message completes no sample.

    Raises:
        AudioError: it cannot be decoded.
        InputError: a message carries a second configuration.
        IdleTimeout, TimeLimit: `patience` is at its end.
    """
    return incoming.stream_samples(requests, wire.read_audio, audio, patience, settle_seconds=SETTLE_SECONDS)
