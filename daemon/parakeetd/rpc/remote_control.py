"""A running daemon's Control service, from another process: how it stands, and its models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from parakeetd.errors import CallFailed
from parakeetd.rpc.address import parse_address
from parakeetd.rpc.standing import ModelStanding, Reloaded, Standing, read_model, read_status
from parakeetd_proto import control_pb2 as control
from parakeetd_proto import control_pb2_grpc

ANSWER_SECONDS: Final = 10.0
"""A daemon that does not say how it stands for so long hangs."""


class RemoteControl:
    """All calls raise CallFailed when the daemon is not there or refuses."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: of the daemon's unix socket, such as `unix:/run/user/1000/parakeetd/parakeetd.sock`.

        Raises:
            ListenError: it is no address.
        """
        self._address = parse_address(address)

    def status(self, seconds: float = ANSWER_SECONDS) -> Standing:
        with self._stub() as stub:
            return read_status(stub.Status(control.StatusRequest(), timeout=seconds))

    def load(self, name: str) -> ModelStanding:
        """Returns when the model serves, which may take as long as its size demands."""
        with self._stub() as stub:
            return read_model(stub.Load(control.LoadRequest(model=name)).model)

    def unload(self, name: str) -> None:
        with self._stub() as stub:
            stub.Unload(control.UnloadRequest(model=name))

    def reload(self, default: str = "") -> Reloaded:
        """Returns when the new models serve."""
        with self._stub() as stub:
            done = stub.Reload(control.ReloadRequest(model=default))
            return Reloaded(tuple(done.changes), tuple(done.needs_restart))

    @contextmanager
    def _stub(self) -> Iterator[control_pb2_grpc.ControlStub]:
        # A proxy for the web is no way to this machine.
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(self._address.target, options=options) as channel:
            try:
                yield control_pb2_grpc.ControlStub(channel)
            except grpc.RpcError as error:
                raise CallFailed(self._in_words(error.code(), error.details() or "")) from error

    def _in_words(self, code: grpc.StatusCode, details: str) -> str:
        match code:
            case grpc.StatusCode.UNAVAILABLE if "ermission denied" in details:
                return f"{self._address} is not open to you; ask who runs the daemon, or use sudo"
            case grpc.StatusCode.UNAVAILABLE if "connect" in details:
                return f"no daemon listens at {self._address}; start it with: parakeetd serve"
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"the daemon at {self._address} does not answer; its log may tell why"
            case grpc.StatusCode.UNIMPLEMENTED:
                return f"what listens at {self._address} is no parakeetd of this version"
            case _:
                return details or code.name
