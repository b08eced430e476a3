"""What a client is told when a call fails."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Any, Final

import grpc

from parakeetd.errors import (
    BundleError,
    Closed,
    DeviceError,
    IdleTimeout,
    InputError,
    MicrophoneError,
    ModelNotFound,
    Overloaded,
    ParakeetError,
    Refused,
    TimeLimit,
    TooLong,
)
from parakeetd.logs import stream_id

_log = logging.getLogger(__name__)

_CODES: Final[dict[type[BaseException], grpc.StatusCode]] = {
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    BundleError: grpc.StatusCode.FAILED_PRECONDITION,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooLong: grpc.StatusCode.RESOURCE_EXHAUSTED,
    IdleTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    TimeLimit: grpc.StatusCode.DEADLINE_EXCEEDED,
    Refused: grpc.StatusCode.UNAUTHENTICATED,
    MicrophoneError: grpc.StatusCode.FAILED_PRECONDITION,
    Closed: grpc.StatusCode.UNAVAILABLE,
    # Another device, or the same one restarted, may well answer the next attempt.
    DeviceError: grpc.StatusCode.UNAVAILABLE,
}

UNEXPECTED: Final = "an unexpected error in the daemon; its log has the details"


_LONGEST: Final = 1000
"""Characters of a message. It may quote what a client sent, and clients do not take more than 8 KiB of status."""


def code_of(error: BaseException) -> grpc.StatusCode:
    """The code of the nearest mapped base of an error's class; INTERNAL when there is none."""
    mapped = (_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)
    return next(mapped, grpc.StatusCode.INTERNAL)


def _fitting(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"


class ErrorsAnswered:
    """Ends the call with a status when the body raises; cancellation passes through.

    An error that is meant for people is answered with its own message. Anything else is logged with its
    traceback and answered as INTERNAL without its text, which may hold what is nobody's business.
    """

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> None:
        self._context = context
        self._method = method

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ParakeetError):
            code = code_of(error)
            peer = self._context.peer()
            if isinstance(error, Refused):
                # The gate tells of these by number: whoever makes such calls could fill the log.
                _log.debug("%s from %s: %s", self._method, peer, code.name)
            elif isinstance(error, InputError) and not isinstance(error, TooLong):
                # It may quote what the client sent: phrases, the first bytes of its audio.
                _log.info("%s from %s: %s (%s)", self._method, peer, code.name, type(error).__name__)
                _log.debug("%s from %s: %s", self._method, peer, error)
            else:
                _log.info("%s from %s: %s: %s", self._method, peer, code.name, error)
            await self._context.abort(code, _fitting(str(error)))
        elif isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            _log.error("%s from %s failed", self._method, self._context.peer(), exc_info=error)
            await self._context.abort(grpc.StatusCode.INTERNAL, UNEXPECTED)


class StreamAnswered(ErrorsAnswered):
    """The same for a stream or a recording, which gets a name in the log, and a line there when it has ended."""

    async def __aenter__(self) -> None:
        self._begun = time.monotonic()
        self._name = stream_id()
        self._name.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._tell("answered")
            elif isinstance(error, asyncio.CancelledError | GeneratorExit):
                self._tell("ended by the client")
            await super().__aexit__(kind, error, trace)
        finally:
            self._name.__exit__(None, None, None)

    def _tell(self, what: str) -> None:
        seconds = time.monotonic() - self._begun
        _log.info("%s from %s: %s after %.1f s", self._method, self._context.peer(), what, seconds)
