"""A running daemon's Control service, from another process: how it stands, and its models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from parakeetd.rpc.remote import Remote
from parakeetd.rpc.standing import ModelStanding, Reloaded, Standing, read_model, read_status
from parakeetd_proto import control_pb2 as control
from parakeetd_proto import control_pb2_grpc

ANSWER_SECONDS: Final = 10.0
"""A daemon that does not say how it stands for so long hangs."""


class RemoteControl(Remote):
    """All calls raise CallFailed when the daemon is not there or refuses."""

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
        with self._errors_told(), grpc.insecure_channel(self._address.target, options=options) as channel:
            yield control_pb2_grpc.ControlStub(channel)
