"""What every call passes, in every service: its token, a place, and patience that has an end.

Calls are counted and let in before their messages are read: a recording may have 64 MiB.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final

import grpc

from parakeetd.entrance.limits import CallLimits, client_at
from parakeetd.entrance.token import Tokens
from parakeetd.errors import InputError, Refused, TimeLimit
from parakeetd.rpc.readable import reading
from parakeetd.rpc.status import ErrorsAnswered
from parakeetd.session import HERE, Client, Places, Sessions

_log = logging.getLogger(__name__)

HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
"""Open without a token: who watches over servers need not have one, and it tells no more than that the daemon lives."""

OTHER_CALLS: Final = 256
"""Calls at once that are no streams: of those who watch, of programs that ask what is served."""
_OTHER_CALLS_EACH: Final = 64
"""Of one client on another machine."""

_TOLD_SECONDS: Final = 60.0
"""Calls without a token are told to the log this often: whoever makes them could fill it."""


class Gate(grpc.aio.ServerInterceptor):
    """Stands before all services of one kind of address, and answers what they raise."""

    def __init__(
        self, sessions: Sessions, streams: frozenset[str], limits: CallLimits, tokens: Tokens | None
    ) -> None:
        """
        Args:
            streams: methods, `/SERVICE/METHOD`, whose calls are streams that `sessions` counts.
            tokens: of which each call must carry one; None for a door that is guarded otherwise, or by nothing.
        """
        self._sessions = sessions
        self._streams = streams
        self._limits = limits
        self._tokens = tokens
        self._others = Places("calls")
        self._refused, self._told = 0, float("-inf")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        path = handler_call_details.method
        method = path.rpartition("/")[2]

        async def call(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> None:
            async with ErrorsAnswered(context, method), AsyncExitStack() as held:
                self._let_in(path, context, held)
                request = requests if handler.request_streaming else await self._only(requests)
                await self._answer(_behaviour(handler), request, context)

        # To its client every call is a stream of messages. As one it is let in before a message is read, and nothing
        # of a recording that nobody wants comes further than gRPC's window.
        return grpc.stream_stream_rpc_method_handler(
            call, reading(handler.request_deserializer), handler.response_serializer
        )

    def _let_in(self, path: str, context: grpc.aio.ServicerContext[Any, Any], held: AsyncExitStack) -> None:
        """
        Raises:
            Refused: it carries no token; Overloaded: a limit is reached; Closed: the daemon drains.
        """
        if path == HEALTH_CHECK:
            return
        if self._tokens is not None and not self._tokens.admit(context.invocation_metadata() or ()):
            self._tell_refused(context.peer())
            raise Refused("this server wants a token: send it as metadata, authorization: Bearer TOKEN")
        client = client_of(context.peer())
        if path in self._streams:
            held.enter_context(self._sessions.place(client))
            return
        each = OTHER_CALLS if client.local else _OTHER_CALLS_EACH
        held.enter_context(self._others.taken(client, (OTHER_CALLS, "fixed"), (each, "fixed")))

    def _tell_refused(self, peer: str) -> None:
        self._refused += 1
        if time.monotonic() - self._told >= _TOLD_SECONDS:
            _log.warning("%d calls without a valid token were refused, the last from %s", self._refused, peer)
            self._refused, self._told = 0, time.monotonic()

    async def _only(self, requests: AsyncIterator[Any]) -> Any:
        seconds = self._limits.upload_seconds
        try:
            async with asyncio.timeout(seconds):
                return await anext(requests)
        except TimeoutError:
            raise TimeLimit(
                f"the request did not arrive within {seconds:g} s (limits.upload_seconds)"
            ) from None
        except StopAsyncIteration:
            raise InputError("the call ended before its request") from None

    async def _answer(
        self, behaviour: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        if not inspect.isasyncgenfunction(behaviour):
            # A streaming method that is a coroutine writes its answers itself and returns nothing.
            answer = await behaviour(request, context)
            if answer is not None:
                await self._write(answer, context)
            return
        async with aclosing(behaviour(request, context)) as answers:
            async for answer in answers:
                await self._write(answer, context)

    async def _write(self, answer: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        seconds = self._limits.unread_seconds
        try:
            async with asyncio.timeout(seconds):
                await context.write(answer)
        except TimeoutError:
            raise TimeLimit(f"results were not read for {seconds:g} s (limits.unread_seconds)") from None


def client_of(peer: str) -> Client:
    """Whose a call is, by the peer as gRPC names it: `ipv4:HOST:PORT`, `ipv6:[HOST]:PORT` or `unix:PATH`."""
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return HERE
    return client_at(rest.rpartition(":")[0].removeprefix("[").removesuffix("]"))


def _behaviour(handler: Any) -> Any:
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
