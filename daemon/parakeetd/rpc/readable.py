"""Messages that are no protobuf of their kind: the client's mistake, and told to it as one.

gRPC by itself logs a traceback for each and answers as if the server had failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from google.protobuf.message import DecodeError

from parakeetd.errors import InputError


class Unreadable:
    """Stands for a message that could not be read: whoever looks into it meets the error."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def __getattr__(self, name: str) -> NoReturn:
        # Nothing is spent on messages that can be read: they need no look beforehand.
        raise InputError(f"a message cannot be read: {self._problem}")


def reading(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The same, answering an `Unreadable` for what is no message of its kind."""
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            # Protobuf names the message, then what is wrong with it.
            return Unreadable(str(error))

    return read
