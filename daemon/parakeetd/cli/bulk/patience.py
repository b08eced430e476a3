"""What to do after a call that failed, and whom to ask next. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import grpc

Code = grpc.StatusCode

_LATER: Final = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})
"""A machine that went away, or has no place: another one, or the same one later, may answer."""

_PERHAPS: Final = frozenset({Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN, Code.ABORTED})
"""What proxies also say of a machine that died amid a call; what a machine says of a file that it cannot do, too."""

_PERHAPS_TRIES: Final = 5
"""With the pauses between them some seconds: in less a balancer notices that a machine is gone."""

_FOR_ALL: Final = frozenset(
    {Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED, Code.NOT_FOUND}
)
"""No file will be answered otherwise."""

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0


class Verdict(Enum):
    AGAIN = "try this file again"
    FAILED = "this file has failed"
    END = "no other file would fare better"


@dataclass(slots=True)
class Tries:
    """How a file has fared."""

    failures: int = 0
    since: float = 0.0
    """When the first one was."""


def judge(
    code: grpc.StatusCode, tries: Tries, now: float, patience_seconds: float, succeeded: float
) -> Verdict:
    """After a failure that is counted in `tries` already.

    Args:
        succeeded: when a file was last answered, whichever; minus infinity for never.
    """
    if code in _FOR_ALL:
        return Verdict.END
    if code in _PERHAPS:
        return Verdict.AGAIN if tries.failures < _PERHAPS_TRIES else Verdict.FAILED
    if code not in _LATER:
        return Verdict.FAILED
    if now - tries.since < patience_seconds:
        return Verdict.AGAIN
    # Others were answered meanwhile: then it is this file.
    return Verdict.FAILED if succeeded > tries.since else Verdict.END


def pause_seconds(failures: int, chance: float) -> float:
    """Before the next try: twice as long each time, and not the same for all that failed together.

    Args:
        chance: 0 to 1.
    """
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + 0.5 * chance)


@dataclass(slots=True)
class _Place:
    address: str
    open_calls: int = 0
    failures: int = 0
    """One after the other."""
    shunned_until: float = float("-inf")


@dataclass(slots=True)
class Places:
    """The addresses of a cluster: the one with the fewest of our calls is asked, and where calls just failed, none
    while there is another."""

    addresses: Sequence[str]
    _places: list[_Place] = field(init=False)

    def __post_init__(self) -> None:
        self._places = [_Place(address) for address in self.addresses]

    def take(self, now: float) -> int:
        """The number of the address to ask; give it back."""
        number = min(
            range(len(self._places)),
            key=lambda i: (self._places[i].shunned_until > now, self._places[i].open_calls, i),
        )
        self._places[number].open_calls += 1
        return number

    def give_back(self, number: int, now: float, *, failed: bool) -> None:
        """A call there has ended."""
        place = self._places[number]
        place.open_calls -= 1
        place.failures = place.failures + 1 if failed else 0
        if failed:
            place.shunned_until = now + pause_seconds(place.failures, 1.0)
