"""Messages that are no protobuf of their kind: the client's mistake, and told to it as one.

gRPC by itself logs a traceback for each and answers as if the server had failed.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from parakeetd.errors import InputError
from parakeetd.rpc.status import ErrorsAnswered


class Unreadable:
    """Stands for a message that could not be read: whoever looks into it meets the error."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def __getattr__(self, name: str) -> NoReturn:
        # Nothing is spent on messages that can be read: they need no look beforehand.
        raise InputError(f"a message cannot be read: {self._problem}")


class ReadableMessages(grpc.aio.ServerInterceptor):
    """Answers INVALID_ARGUMENT to a message that cannot be read, in every service."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        method = handler_call_details.method.rpartition("/")[2]
        changes: dict[str, Any] = {"request_deserializer": _reading(handler.request_deserializer)}
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            if (behaviour := getattr(handler, kind)) is not None:
                # A streaming method may also be a coroutine that writes its answers to the context.
                wrapped = _answers if inspect.isasyncgenfunction(behaviour) else _one_answer
                changes[kind] = wrapped(behaviour, method)
        return handler._replace(**changes)


def _reading(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            # Protobuf names the message, then what is wrong with it.
            return Unreadable(str(error))

    return read


def _one_answer(behaviour: Any, method: str) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        async with ErrorsAnswered(context, method):
            return await behaviour(request, context)

    return answer


def _answers(behaviour: Any, method: str) -> Any:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        async with ErrorsAnswered(context, method), aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    return answer
