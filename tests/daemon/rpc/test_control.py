"""The Control service: where it is offered, and how it answers for a steward."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parakeetd.errors import BundleError, InputError
from parakeetd.routing import Engine, Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.standing import (
    DeviceStanding,
    InstalledModel,
    ModelStanding,
    Reloaded,
    Standing,
    in_words,
    read_status,
)
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd_proto import control_pb2 as control
from parakeetd_proto import control_pb2_grpc, riva_asr_pb2_grpc
from parakeetd_proto import riva_asr_pb2 as asr
from wire import pcm, silence

CONTROL = "parakeetd.v1.Control"
RIVA = "nvidia.riva.asr.RivaSpeechRecognition"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

CALLS: dict[str, Any] = {
    "Status": control.StatusRequest(),
    "ListModels": control.ListModelsRequest(),
    "Load": control.LoadRequest(model="big"),
    "Unload": control.UnloadRequest(model="big"),
    "Reload": control.ReloadRequest(model="big"),
}

DEVICE = DeviceStanding("cuda", "closing", False, 3, "it fell off the bus", 1.5, 2, 4096, 12)
MODEL = ModelStanding("demo", Path("/m/demo"), ("en-US",), True, 4, 5, (DEVICE,))
STANDING = Standing("serving", "demo", "1.2", 7, 8.5, ("unix:/a",), (MODEL,), 9, 10, 11, "/c.toml")


class FakeSteward:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    def standing(self) -> Standing:
        return STANDING

    def installed(self) -> Sequence[InstalledModel]:
        return [InstalledModel("big", Path("/m/big"), ("de",), ("fp32",), False, False, "half is missing")]

    async def load(self, name: str) -> ModelStanding:
        await self._do("load", name)
        return MODEL

    async def unload(self, name: str) -> None:
        await self._do("unload", name)

    async def reload(self, default: str = "") -> Reloaded:
        await self._do("reload", default)
        return Reloaded(("another model",), ("server.listen",))

    async def _do(self, what: str, name: str) -> None:
        self.begun.set()
        await self.go.wait()
        if self.error:
            raise self.error
        self.calls.append((what, name))
        self.ended.set()


@pytest.fixture
def steward() -> FakeSteward:
    return FakeSteward()


@pytest.fixture
def model(routers: Callable[[Engine], Router]) -> ServedModel:
    return ServedModel("fake", ("en-US",), routers(FakeEngine()))


@asynccontextmanager
async def served(
    folder: Path, model: ServedModel, steward: FakeSteward, *, ready: bool = True
) -> AsyncIterator[tuple[RpcServer, grpc.aio.Channel, grpc.aio.Channel]]:
    """A server on TCP and on a unix socket, and a channel to each."""
    server = RpcServer(
        Sessions((model,), SessionSettings()), ("127.0.0.1:0", f"unix:{folder}/p.sock"), steward=steward
    )
    await server.start(ready=ready)
    try:
        tcp, unix = server.addresses
        async with grpc.aio.insecure_channel(tcp) as over_tcp, grpc.aio.insecure_channel(unix) as over_unix:
            yield server, over_tcp, over_unix
    finally:
        await server.drain(0.1, 1)


async def call(channel: grpc.aio.Channel, method: str) -> Any:
    return await getattr(control_pb2_grpc.ControlStub(channel), method)(CALLS[method])


async def health(channel: grpc.aio.Channel, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    status: int = (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
    return status


@pytest.mark.parametrize("method", list(CALLS))
async def test_a_call_over_tcp_is_not_there(
    tmp_path: Path, model: ServedModel, steward: FakeSteward, method: str
) -> None:
    async with served(tmp_path, model, steward) as (_, tcp, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(tcp, method)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert steward.calls == []


@pytest.mark.parametrize("method", list(CALLS))
async def test_each_call_is_answered_on_the_unix_socket(
    tmp_path: Path, model: ServedModel, steward: FakeSteward, method: str
) -> None:
    async with served(tmp_path, model, steward) as (_, _, unix):
        await call(unix, method)
    told = [] if method in ("Status", "ListModels") else [(method.lower(), "big")]
    assert steward.calls == told


def test_every_call_of_the_service_is_in_these_tests() -> None:
    service = control.DESCRIPTOR.services_by_name["Control"]
    assert set(CALLS) <= {method.name for method in service.methods}


async def test_a_status_says_all_that_the_steward_says(
    tmp_path: Path, model: ServedModel, steward: FakeSteward
) -> None:
    async with served(tmp_path, model, steward) as (_, _, unix):
        assert read_status(await call(unix, "Status")) == STANDING


async def test_models_reloads_and_loads_are_told_in_full(
    tmp_path: Path, model: ServedModel, steward: FakeSteward
) -> None:
    async with served(tmp_path, model, steward) as (_, _, unix):
        [listed] = (await call(unix, "ListModels")).models
        reloaded = await call(unix, "Reload")
        loaded = (await call(unix, "Load")).model
    assert (listed.name, listed.path, listed.problem) == ("big", "/m/big", "half is missing")
    assert (list(listed.languages), list(listed.precisions), listed.loaded) == (["de"], ["fp32"], False)
    assert (list(reloaded.changes), list(reloaded.needs_restart)) == (["another model"], ["server.listen"])
    assert (loaded.name, loaded.devices[0].failure) == ("demo", "it fell off the bus")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such model"), grpc.StatusCode.INVALID_ARGUMENT),
        (BundleError(Path("/m/big"), "is damaged"), grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
async def test_a_refusal_carries_its_reason(
    tmp_path: Path, model: ServedModel, steward: FakeSteward, error: Exception, code: grpc.StatusCode
) -> None:
    steward.error = error
    async with served(tmp_path, model, steward) as (_, _, unix):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(unix, "Reload")
    assert caught.value.code() is code
    assert caught.value.details() == str(error)


@pytest.mark.parametrize("method", ["Load", "Unload"])
async def test_a_model_must_be_named(
    tmp_path: Path, model: ServedModel, steward: FakeSteward, method: str
) -> None:
    async with served(tmp_path, model, steward) as (_, _, unix):
        with pytest.raises(grpc.aio.AioRpcError, match="must name a model"):
            await getattr(control_pb2_grpc.ControlStub(unix), method)(type(CALLS[method])())


async def test_a_reload_is_finished_when_who_asked_for_it_has_left(
    tmp_path: Path, model: ServedModel, steward: FakeSteward
) -> None:
    steward.go.clear()
    async with served(tmp_path, model, steward) as (_, _, unix), asyncio.timeout(20):
        asked = control_pb2_grpc.ControlStub(unix).Reload(CALLS["Reload"])
        # The call is sent when it is first awaited.
        waiting = asyncio.ensure_future(asked.code())
        await steward.begun.wait()
        asked.cancel()
        await waiting
        # An answer to a later call: the cancellation has been read by then.
        await call(unix, "Status")
        steward.go.set()
        await steward.ended.wait()
    assert steward.calls == [("reload", "big")]


async def test_health_waits_for_a_model_and_control_does_not(
    tmp_path: Path, model: ServedModel, steward: FakeSteward
) -> None:
    async with served(tmp_path, model, steward, ready=False) as (server, tcp, unix):
        for channel in (tcp, unix):
            assert await health(channel, "") == NOT_SERVING
            assert await health(channel, RIVA) == NOT_SERVING
        assert await health(unix, CONTROL) == SERVING
        await server.be_ready()
        for channel in (tcp, unix):
            assert await health(channel, "") == SERVING
            assert await health(channel, RIVA) == SERVING


async def test_while_a_model_is_loaded_streams_are_told_to_come_again(
    tmp_path: Path, steward: FakeSteward
) -> None:
    server = RpcServer(Sessions((), SessionSettings()), (f"unix:{tmp_path}/p.sock",), steward=steward)
    await server.start(ready=False)
    try:
        async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
            stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
            with pytest.raises(grpc.aio.AioRpcError, match="is loading its model; try again") as caught:
                await stub.Recognize(asr.RecognizeRequest(config=pcm(), audio=silence(0.1)))
            listed = await stub.GetRivaSpeechRecognitionConfig(asr.RivaSpeechRecognitionConfigRequest())
    finally:
        await server.drain(0.1, 1)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not listed.model_config


async def test_the_health_of_control_is_unknown_over_tcp(
    tmp_path: Path, model: ServedModel, steward: FakeSteward
) -> None:
    async with served(tmp_path, model, steward) as (_, tcp, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(tcp, CONTROL)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (DeviceStanding("cpu"), "demo on CPU"),
        (DeviceStanding("cuda", "closed"), "demo on GPU at rest"),
        (DeviceStanding("cuda", "opening"), "demo on GPU (opening)"),
        (DEVICE, "demo on GPU (failed)"),
    ],
)
def test_a_device_is_told_in_words(device: DeviceStanding, words: str) -> None:
    assert in_words(ModelStanding("demo", Path("/m"), devices=(device,))) == words
