"""The Control service: what only those may do who can open the unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

import grpc

from parakeetd.dictation import Dictation
from parakeetd.errors import InputError
from parakeetd.rpc.microphone import MicrophoneCalls, state_message
from parakeetd.rpc.standing import (
    InstalledModel,
    ModelStanding,
    Reloaded,
    Standing,
    model_message,
    models_response,
    status_response,
)
from parakeetd_proto import control_pb2 as control
from parakeetd_proto import control_pb2_grpc

SERVICE: Final = control.DESCRIPTOR.services_by_name["Control"].full_name

Context = grpc.aio.ServicerContext[Any, Any]

T = TypeVar("T")


class Steward(Protocol):
    """Who looks after the models of a daemon. Errors are leaves of `ParakeetError`; after one nothing has changed."""

    def standing(self) -> Standing: ...

    def installed(self) -> Sequence[InstalledModel]:
        """Reads manifests from disk."""
        ...

    async def load(self, name: str) -> ModelStanding:
        """Open a model beside those that serve."""
        ...

    async def unload(self, name: str) -> None:
        """Close one that was loaded."""
        ...

    async def reload(self, default: str = "") -> Reloaded:
        """Read the configuration again and open anew what has changed.

        Args:
            default: the default model from now on; empty as configured.
        """
        ...


class ControlServicer(MicrophoneCalls, control_pb2_grpc.ControlServicer):
    """Answers `parakeetd status`, `parakeetd reload`, `parakeetd listen` and their like."""

    def __init__(self, steward: Steward, dictation: Dictation | None = None) -> None:
        super().__init__(dictation)
        self._steward = steward

    async def Status(  # noqa: N802  (the service names it)
        self, request: control.StatusRequest, context: Context
    ) -> control.StatusResponse:
        """What the daemon does now."""
        response = status_response(self._steward.standing())
        if self.dictation is not None:
            response.microphone.CopyFrom(state_message(self.dictation.state))
        return response

    async def ListModels(  # noqa: N802  (the service names it)
        self, request: control.ListModelsRequest, context: Context
    ) -> control.ListModelsResponse:
        """The models on disk."""
        return models_response(await asyncio.to_thread(self._steward.installed))

    async def Load(  # noqa: N802  (the service names it)
        self, request: control.LoadRequest, context: Context
    ) -> control.LoadResponse:
        """Open a model beside those that serve."""
        loaded = await _to_its_end(self._steward.load(_named(request.model)))
        return control.LoadResponse(model=model_message(loaded))

    async def Unload(  # noqa: N802  (the service names it)
        self, request: control.UnloadRequest, context: Context
    ) -> control.UnloadResponse:
        """Close a model that was loaded."""
        await _to_its_end(self._steward.unload(_named(request.model)))
        return control.UnloadResponse()

    async def Reload(  # noqa: N802  (the service names it)
        self, request: control.ReloadRequest, context: Context
    ) -> control.ReloadResponse:
        """Read the configuration again."""
        done = await _to_its_end(self._steward.reload(request.model))
        return control.ReloadResponse(changes=done.changes, needs_restart=done.needs_restart)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do what was begun also when who asked for it leaves: half a switch of models would be none."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_seen)
        raise


def _seen(task: asyncio.Future[Any]) -> None:
    # Nobody waits for it any more; its error is in the log.
    if not task.cancelled():
        task.exception()


def _named(model: str) -> str:
    if not model:
        raise InputError("the request must name a model")
    return model
