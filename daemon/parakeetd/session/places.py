"""How many of something clients may have at once: over all of them, and each by itself. No clock, no threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from parakeetd.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, as far as it can be told."""

    name: str = "this machine"
    local: bool = True
    """On this machine: all programs of it are one client."""


HERE = Client()


class Places:
    """Counts what is taken."""

    def __init__(self, what: str) -> None:
        """
        Args:
            what: is counted, in the plural, for messages.
        """
        self._what = what
        self._taken: Counter[Client] = Counter()
        self.count = 0
        """Taken now."""

    def take(self, client: Client, total: tuple[int, str], each: tuple[int, str]) -> None:
        """Take a place, to be given back.

        Args:
            total: the limit over all clients, and its name.
            each: the limit for this client, and its name.

        Raises:
            Overloaded: a limit is reached; the message says which.
        """
        for count, (limit, name), whose in (
            (self.count, total, ""),
            (self._taken[client], each, f" from {client.name}"),
        ):
            if count >= limit:
                raise Overloaded(
                    f"{count} {self._what}{whose} are open, the limit is {limit} ({name}); try again later"
                )
        self._taken[client] += 1
        self.count += 1

    def give_back(self, client: Client) -> None:
        """Free a place that this client took."""
        self._taken[client] -= 1
        self.count -= 1
        if not self._taken[client]:
            # Clients come and go for months.
            del self._taken[client]

    @contextmanager
    def taken(self, client: Client, total: tuple[int, str], each: tuple[int, str]) -> Iterator[None]:
        """Hold a place for as long as the block runs.

        Raises:
            Overloaded: as `take`.
        """
        self.take(client, total, each)
        try:
            yield
        finally:
            self.give_back(client)
