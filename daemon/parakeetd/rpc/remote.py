"""The microphone of a running daemon, from another process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from types import TracebackType

import grpc

from parakeetd.dictation import Event, State
from parakeetd.entrance.address import parse_address
from parakeetd.errors import CallFailed
from parakeetd.rpc.microphone import read_event, read_state
from parakeetd_proto import control_pb2 as control
from parakeetd_proto import control_pb2_grpc


class Remote:
    """A daemon that is called at its unix socket."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: such as `unix:/run/user/1000/parakeetd/parakeetd.sock`.

        Raises:
            ListenError: it is no address.
        """
        self._address = parse_address(address)

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """
        Raises:
            CallFailed: a call within the block failed.
        """
        try:
            yield
        except grpc.RpcError as error:
            raise CallFailed(_in_words(str(self._address), error.code(), error.details() or "")) from error


class RemoteMicrophone(Remote):
    """Use it as an asynchronous context manager. All calls raise CallFailed when the daemon is not there or refuses."""

    async def __aenter__(self) -> RemoteMicrophone:
        self._channel = grpc.aio.insecure_channel(self._address.target)
        self._stub = control_pb2_grpc.ControlStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def start(self, device: str = "") -> State:
        with self._errors_told():
            return read_state((await self._stub.Start(control.StartRequest(device=device))).state)

    async def stop(self) -> State:
        with self._errors_told():
            return read_state((await self._stub.Stop(control.StopRequest())).state)

    async def toggle(self, device: str = "") -> State:
        with self._errors_told():
            return read_state((await self._stub.Toggle(control.ToggleRequest(device=device))).state)

    async def cancel(self) -> State:
        with self._errors_told():
            return read_state((await self._stub.Cancel(control.CancelRequest())).state)

    async def watch(self, *, levels: bool = False) -> AsyncGenerator[Event, None]:
        """All that happens, beginning with the state as it is. Use it under `contextlib.aclosing`."""
        call = self._stub.Watch(control.WatchRequest(levels=levels))
        try:
            with self._errors_told():
                async for message in call:
                    if (event := read_event(message)) is not None:
                        yield event
        finally:
            call.cancel()


def _in_words(address: str, code: grpc.StatusCode, details: str) -> str:
    match code:
        case grpc.StatusCode.UNAVAILABLE if "ermission denied" in details:
            return f"{address} is not open to you; ask who runs the daemon, or use sudo"
        case grpc.StatusCode.UNAVAILABLE if "connect" in details:
            return f"no daemon listens at {address}; start it with: parakeetd serve"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"the daemon at {address} does not answer; its log may tell why"
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"what listens at {address} is not the unix socket of a parakeetd of this version"
        case _:
            return details or code.name
