"""What Serve's proxies offer. Serve calls `add_services` in each proxy's process, where nothing else of ours runs.

Messages are not read there: their bytes go to a replica and come from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from parakeetd.cluster.calls import handlers_of
from parakeetd.cluster.gather import Gathered
from parakeetd.cluster.plan import APPLICATION
from parakeetd.rpc.gate import HEALTH_CHECK
from parakeetd.rpc.status import UNEXPECTED
from parakeetd_proto import riva_asr_pb2_grpc

_APPLICATION_KEY: Final = "application"
"""Metadata by which Serve chooses among the applications of a cluster. Riva's clients know nothing of it."""

_INTERNAL: Final = (grpc.StatusCode.INTERNAL, grpc.StatusCode.INTERNAL.value[0])
"""As whoever set it named it."""

_GONE: Final = "the replica that answered this call is gone; begin it anew"


def add_services(_servicer: object, server: Any) -> None:
    """Serve hands over a servicer that is none: it answers the calls itself."""
    offered = handlers_of(
        (riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server, _Nobody()),
        (health_pb2_grpc.add_HealthServicer_to_server, _Nobody()),
    )
    for path in [path for path in offered if "Health/" in path and path != HEALTH_CHECK]:
        # A watch would hold a place of a replica as a stream does.
        del offered[path]
    server.add_generic_rpc_handlers(
        (_Handlers({path: _bytes_only(handler) for path, handler in offered.items()}),)
    )


class _Nobody:
    """Has every method, for generated code to name. None is called."""

    def __getattr__(self, name: str) -> None:
        return None


class _Handlers(grpc.GenericRpcHandler):
    """Finds the method of a call."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._method_handlers = handlers
        """Serve replaces their functions by its own, under this name, as gRPC's own handlers have it."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler: Any = self._method_handlers.get(handler_call_details.method)
        if handler is None:
            return None
        if handler.response_streaming:
            return handler._replace(stream_stream=_streamed(handler.stream_stream))
        return handler._replace(unary_unary=_answered(handler.unary_unary))


def _bytes_only(handler: Any) -> Any:
    return handler._replace(request_deserializer=None, response_serializer=None)


def _answered(behaviour: Any) -> Any:
    async def answer(request: bytes, context: Any) -> bytes:
        told: bytes = await behaviour(request, Ours(context))
        mend(context)
        return told

    return answer


def _streamed(behaviour: Any) -> Any:
    async def answers(requests: Any, context: Any) -> Any:
        gathered = Gathered(requests)
        try:
            async for told in behaviour(gathered, Ours(context)):
                yield told
            mend(context)
        finally:
            gathered.close()

    return answers


class Ours:
    """gRPC's context of a call, which names our application to Serve."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """What the client sent, and the name."""
        sent = self._context.invocation_metadata() or ()
        return (*(pair for pair in sent if pair[0] != _APPLICATION_KEY), (_APPLICATION_KEY, APPLICATION))


def mend(context: Any) -> None:
    """Tell the client of a replica that died that it may try again.

    Serve answers INTERNAL to all that is no answer of ours: a replica, or the machine that it ran on, was lost.
    """
    if context.code() in _INTERNAL and context.details() != UNEXPECTED:
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        context.set_details(_GONE)
