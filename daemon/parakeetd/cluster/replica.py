"""What runs on the cluster's machines: replicas, each a whole recogniser, and the ledger that they all write in."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ray
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from ray import serve
from ray.exceptions import RayError

from parakeetd import logs, memory
from parakeetd.cluster.calls import Asked, Calls, handlers_of
from parakeetd.cluster.counts import Counts
from parakeetd.cluster.ledger import Entry, Ledger
from parakeetd.cluster.plan import APPLICATION, LOOK_SECONDS
from parakeetd.config import Config, Paths
from parakeetd.entrance.token import Tokens
from parakeetd.rpc.gate import HEALTH_CHECK, Gate
from parakeetd.rpc.riva import SERVICE, STREAMS, RivaServicer
from parakeetd.session import Sessions
from parakeetd.steward import Steward
from parakeetd.supervision import moves
from parakeetd_proto import riva_asr_pb2_grpc

log = logging.getLogger(__name__)

LEDGER: Final = "parakeetd-ledger"

_CLOSE_SECONDS: Final = 2.0
"""For the worker threads to end, when the streams have."""


class Replica:
    """A recogniser of Serve's. Methods are named as those of the services: Serve looks for them so."""

    async def __init__(  # type: ignore[misc]  # Serve waits for it
        self, config: Config, models: Path | None
    ) -> None:
        """
        Args:
            models: folder of models on this machine; None: where they usually lie.

        Raises:
            ModelNotFound, BundleError, DeviceError, ConfigError: it cannot serve.
        """
        _log(config)
        memory.share_arenas()
        paths = Paths.from_environment()
        if models is not None:
            paths = replace(paths, models=models)
        self._counts = Counts()
        self._sessions = Sessions((), config.sessions, self._counts, when_quiet=memory.give_back)
        self._steward = Steward(config, paths, self._sessions, read=lambda: config)
        file = config.access.token_file
        gate = Gate(self._sessions, STREAMS, config.calls, None if file is None else Tokens(file))
        await self._steward.begin()
        health = HealthServicer()
        for service in ("", SERVICE):
            await health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._calls = Calls(
            gate,
            handlers_of(
                (
                    riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server,
                    RivaServicer(self._sessions, self._steward.house),
                ),
                (health_pb2_grpc.add_HealthServicer_to_server, health),
            ),
        )
        self._name = serve.get_replica_context().replica_id.unique_id
        self._node = ray.util.get_node_ip_address()
        self._node_id = ray.get_runtime_context().get_node_id()
        self._telling = asyncio.create_task(self._tell(), name="parakeetd-ledger")

    async def StreamingRecognize(  # noqa: N802  (the service names it)
        self, requests: Any, grpc_context: Asked
    ) -> AsyncIterator[Any]:
        """Recognise audio while it is spoken."""
        path = f"/{SERVICE}/StreamingRecognize"
        async with aclosing(self._calls.answers(path, _received(requests), grpc_context)) as answers:
            async for answer in answers:
                yield answer

    async def Recognize(self, request: bytes, grpc_context: Asked) -> Any:  # noqa: N802
        """Recognise a whole recording."""
        return await self._answer(f"/{SERVICE}/Recognize", request, grpc_context)

    async def GetRivaSpeechRecognitionConfig(self, request: bytes, grpc_context: Asked) -> Any:  # noqa: N802
        """List the models."""
        return await self._answer(f"/{SERVICE}/GetRivaSpeechRecognitionConfig", request, grpc_context)

    async def Check(self, request: bytes, grpc_context: Asked) -> Any:  # noqa: N802
        """gRPC's health check: there is a replica that answers."""
        return await self._answer(HEALTH_CHECK, request, grpc_context)

    def check_health(self) -> None:
        """Serve replaces a replica that raises here.

        Raises:
            RuntimeError: segments are unanswered and nothing moves.
        """
        for router in self._steward.routers:
            if not moves(progress := router.progress()):
                raise RuntimeError(
                    f"{progress.unanswered} segments are unanswered and nothing has moved for "
                    f"{progress.still_seconds:.0f} s"
                )

    async def __del__(self) -> None:
        # Serve calls it by name and waits, when the streams have ended or their time is over.
        if hasattr(self, "_telling"):
            self._telling.cancel()
            await self._ledger().forget.remote(self._name)
            await self._steward.close(_CLOSE_SECONDS)

    async def _answer(self, path: str, request: bytes, asked: Asked) -> Any:
        async with aclosing(self._calls.answers(path, _one(request), asked)) as answers:
            return await anext(answers)

    async def _tell(self) -> None:
        while True:
            standing = self._steward.standing()
            self._counts.stands(standing)
            taken = self._counts.taken + standing.streams
            try:
                # Its machine may have been lost: it begins anew then, and knows all again after a second.
                self._ledger().note.remote(
                    Entry(
                        self._name, self._node, self._node_id, standing, taken, self._counts.ended["refused"]
                    )
                )
            except (RayError, ValueError):
                log.debug("the ledger is not there")
            await asyncio.sleep(LOOK_SECONDS)

    @staticmethod
    def _ledger() -> Any:
        return ray.get_actor(LEDGER, namespace=APPLICATION)


class LedgerKeeper:
    """The ledger as an actor."""

    def __init__(self) -> None:
        self._ledger = Ledger()

    def note(self, entry: Entry) -> None:
        self._ledger.note(entry, time.monotonic())

    def forget(self, replica: str) -> None:
        self._ledger.forget(replica)

    def entries(self) -> list[Entry]:
        return self._ledger.entries(time.monotonic())


async def _received(requests: Any) -> AsyncIterator[bytes]:
    """A stream's messages, of which several came together. One whose client has gone is cancelled: its end is not that
    of the speech."""
    try:
        async for group in requests:
            for request in group:
                yield request
    except RayError as error:
        raise asyncio.CancelledError("the proxy of this stream is gone") from error
    if requests.is_cancelled():
        raise asyncio.CancelledError("the client is gone")


async def _one(request: bytes) -> AsyncIterator[bytes]:
    yield request


def _log(config: Config) -> None:
    """Ray collects what a replica writes to its standard error."""
    handler = logging.StreamHandler(sys.stderr)
    ours = logging.getLogger("parakeetd")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.INFO)
    logs.use(config.log.format, handlers=[handler])
