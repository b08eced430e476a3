"""Wyoming's events, read within limits and checked: a line of JSON each, more of it behind, and then the audio."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, TypeVar

from wyoming.audio import AudioChunk, AudioFormat
from wyoming.event import Event, async_read_event

from parakeetd.errors import InputError, TooLong

HEADER_BYTES: Final = 64 << 10
"""Longest part of an event before a stream has its place; longest line always."""

_WIDTHS: Final = (1, 2, 3, 4)
"""Bytes of a sample of one channel."""

_Parsed = TypeVar("_Parsed", covariant=True)


class _Kind(Protocol[_Parsed]):
    @staticmethod
    def from_event(event: Event) -> _Parsed: ...


class EventReader(asyncio.StreamReader):
    """The length of an event is what its client says: no more of it is read than is allowed."""

    def __init__(self) -> None:
        super().__init__(limit=HEADER_BYTES)
        self.most = HEADER_BYTES
        """Bytes that a part of an event may have."""
        self.left = asyncio.Event()
        """Set when the client has closed its side, or is gone: an answer would not be read."""

    async def next(self) -> Event | None:
        """The next event; None when the client has left, or will send no more.

        Raises:
            InputError: what came is no event; TooLong: it is too long.
        """
        try:
            event = await async_read_event(self)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except (KeyError, TypeError, AttributeError, RecursionError):
            raise _no_event() from None
        if event is None:
            if self.at_eof():
                return None
            raise _no_event()
        # The library takes them as they come.
        kind: object = event.type
        data: object = event.data
        if not isinstance(kind, str) or not isinstance(data, dict):
            raise _no_event()
        return event

    def feed_eof(self) -> None:
        super().feed_eof()
        self.left.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.left.set()

    async def readline(self) -> bytes:
        try:
            return await super().readline()
        except ValueError:
            raise TooLong(f"the line of an event is longer than {HEADER_BYTES} bytes") from None

    async def readexactly(self, n: int) -> bytes:
        if n > self.most:
            when = "" if self.most > HEADER_BYTES else " before audio-start"
            raise TooLong(f"a part of an event has {n} bytes; the most{when} is {self.most}")
        return await super().readexactly(n)


def parsed(kind: _Kind[_Parsed], event: Event) -> _Parsed:
    """An event's content.

    Raises:
        InputError: something of it is missing.
    """
    try:
        return kind.from_event(event)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the event {event.type} cannot be used: {error!r}") from None


def checked(form: AudioFormat) -> tuple[int, int, int]:
    """Rate, width and channels of raw audio.

    Raises:
        InputError: they are no numbers, or there are no samples of this width. Rate and channels are checked by
            whoever decodes them.
    """
    for name in ("rate", "width", "channels"):
        value = getattr(form, name)
        if type(value) is not int or value < 1:
            raise InputError(f"{name} of the audio must be a whole number above 0, not {value!r}")
    if form.width not in _WIDTHS:
        raise InputError(f"width of the audio must be 1, 2, 3 or 4 bytes, not {form.width}")
    return form.rate, form.width, form.channels


def check_same(chunk: AudioChunk, form: tuple[int, int, int]) -> None:
    """
    Raises:
        InputError: a chunk is not of its stream's form, or not a whole number of samples.
    """
    if checked(chunk) != form:
        raise InputError(
            f"an audio-chunk has rate, width and channels {checked(chunk)}, the stream began with {form}"
        )
    if len(chunk.audio) % (chunk.width * chunk.channels):
        raise InputError(f"an audio-chunk has {len(chunk.audio)} bytes, which is no whole number of samples")


def _no_event() -> InputError:
    return InputError("what came is no event of the Wyoming protocol: each begins with a line of JSON")
