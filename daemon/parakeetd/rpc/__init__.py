"""The wire: gRPC in, gRPC out. Nothing else in the daemon knows protobuf."""

from __future__ import annotations

from parakeetd.rpc.server import DRAIN_SECONDS, FLUSH_SECONDS, MAX_MESSAGE_BYTES, RpcServer

__all__ = ["DRAIN_SECONDS", "FLUSH_SECONDS", "MAX_MESSAGE_BYTES", "RpcServer"]
