"""The wire: gRPC in, gRPC out. Nothing else in the daemon knows protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parakeetd.rpc.server import RpcServer

__all__ = ["RpcServer"]


def __getattr__(name: str) -> Any:
    # Imported when first used: our clients, such as the command behind a key, need not wait for the server's rooms.
    if name in __all__:
        from parakeetd.rpc import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
