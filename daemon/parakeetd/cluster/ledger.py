"""How the replicas stand, as they tell it themselves, and all of them together. No clock, no Ray."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from parakeetd.rpc.standing import Standing

SILENT_SECONDS: Final = 5.0
"""A replica that has told nothing for this long is gone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a replica tells."""

    replica: str
    node: str
    """Address of its machine."""
    node_id: str
    """Ray's name for it."""
    standing: Standing
    taken: int = 0
    """Streams and recordings that it has taken since it began."""
    refused: int = 0
    """Of those that came, without a place for them."""


class Ledger:
    """Keeps what each replica told last."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, Entry]] = {}

    def note(self, entry: Entry, now: float) -> None:
        """A replica tells how it stands.

        Args:
            now: seconds, of a clock that does not jump.
        """
        self._entries[entry.replica] = now, entry

    def forget(self, replica: str) -> None:
        """A replica has ended."""
        self._entries.pop(replica, None)

    def entries(self, now: float) -> list[Entry]:
        """Of those that are there, by machine and name."""
        self._entries = {
            name: (told, entry)
            for name, (told, entry) in self._entries.items()
            if now - told < SILENT_SECONDS
        }
        return sorted(
            (entry for _, entry in self._entries.values()), key=lambda entry: (entry.node, entry.replica)
        )


@dataclass(frozen=True, slots=True)
class ClusterStanding:
    """The whole application."""

    state: str
    """In Serve's words: `RUNNING`, `DEPLOYING`, `UNHEALTHY`..."""
    message: str
    """What Serve says of it; often empty."""
    proxies: dict[str, str]
    """By machine, in Serve's words."""
    wanted: dict[str, int]
    """How many replicas are in which state, in Serve's words."""
    replicas: tuple[Entry, ...]

    @property
    def streams(self) -> int:
        """Open at all replicas."""
        return sum(entry.standing.streams for entry in self.replicas)

    @property
    def places(self) -> int:
        """For streams, of all replicas."""
        return sum(entry.standing.max_streams for entry in self.replicas)

    def as_json(self) -> dict[str, Any]:
        """With the sums."""
        sums = {"streams": self.streams, "places": self.places, "taken": _sum(self.replicas, "taken")}
        return {**asdict(self), **sums, "refused": _sum(self.replicas, "refused")}


def _sum(entries: Iterable[Entry], what: str) -> int:
    return sum(getattr(entry, what) for entry in entries)
