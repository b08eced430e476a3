"""Calls that come through Ray instead of from gRPC's server, answered by the same gate and the same services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn, Protocol, cast

import grpc

from parakeetd.rpc.gate import Gate

_UNSENT: Final = 1
"""Answers that wait to be taken: a service that is not read does not run ahead."""

_END: Final = object()


class Asked(Protocol):
    """What came with a call, and how it is to end: Ray Serve's stand-in for gRPC's context."""

    def peer(self) -> str: ...

    def invocation_metadata(self) -> Iterable[tuple[str, str]]: ...

    def set_code(self, code: grpc.StatusCode) -> None: ...

    def set_details(self, details: str) -> None: ...


class _Details(NamedTuple):
    """As gRPC's own, which cannot be made: how a call begins."""

    method: str
    invocation_metadata: Iterable[tuple[str, str]]


class _Context:
    """What our services use of gRPC's context."""

    def __init__(self, asked: Asked, write: Callable[[Any], Any]) -> None:
        self._asked = asked
        self.peer = asked.peer
        self.invocation_metadata = asked.invocation_metadata
        self.set_code = asked.set_code
        self.set_details = asked.set_details
        self.write = write

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        self._asked.set_code(code)
        self._asked.set_details(details)
        raise grpc.aio.AbortError(details)


def handlers_of(
    *services: tuple[Callable[[Any, Any], None], object],
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The methods of services, by their paths, as generated code adds them to a server.

    Args:
        services: the generated function, and what answers.
    """
    collected = _Collected()
    for add, servicer in services:
        add(servicer, collected)
    return collected.handlers


class _Collected:
    """A server as far as generated code knows it."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same as below, in the older form."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self.handlers.update({f"/{service}/{method}": handler for method, handler in handlers.items()})


class Calls:
    """Answers calls by their path."""

    def __init__(self, gate: Gate, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._gate = gate
        self._handlers = handlers

    async def answers(
        self, path: str, requests: AsyncIterator[bytes], asked: Asked
    ) -> AsyncGenerator[Any, None]:
        """The messages that answer a call. Use it under `contextlib.aclosing`: left early, the call is cancelled.

        Args:
            requests: as they came over the wire.

        Raises:
            grpc.aio.AbortError: the call ends with a status, which `asked` has.
        """
        details = cast(grpc.HandlerCallDetails, _Details(path, asked.invocation_metadata()))
        handler = await self._gate.intercept_service(self._lookup, details)
        written: asyncio.Queue[Any] = asyncio.Queue(_UNSENT)
        # A task of its own, as in gRPC's server: what is noted in its context is this call's from beginning to end.
        call = asyncio.create_task(
            handler.stream_stream(_read(requests, handler.request_deserializer), _Context(asked, written.put))
        )

        def wake(_: asyncio.Task[None]) -> None:
            # Whoever waits for the next answer. Where one is still there, it is taken, and the end is seen then.
            if not written.full():
                written.put_nowait(_END)

        call.add_done_callback(wake)
        try:
            while not (call.done() and written.empty()):
                if (answer := await written.get()) is _END:
                    break
                yield answer
            await call
        finally:
            if not call.done():
                call.cancel()
                with suppress(asyncio.CancelledError):
                    await call

    async def _lookup(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handlers[details.method]


async def _read(requests: AsyncIterator[bytes], deserialize: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield deserialize(request)
