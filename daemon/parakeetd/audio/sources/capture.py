"""When a microphone's recorder is started, watched and replaced.

A pure state machine: what was seen and the time go in, what to do comes out. It knows no processes and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

SILENT_SECONDS: Final = 1.0
"""A recorder that delivers nothing for this long is reported, and its source is looked at."""

STUCK_SECONDS: Final = 2.0
"""One that has delivered before and whose source runs is replaced after this."""

FIRST_SECONDS: Final = 4.0
"""The same before its first sample: a Bluetooth headset takes seconds to change its profile."""

UNSEEN_SECONDS: Final = 2.0
"""One that delivers while the server does not say where from is reported after this."""

LOOK_SECONDS: Final = 0.5
"""Between looks while something is wrong."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source of the sound server."""

    name: str
    description: str = ""
    """For people."""
    monitor: bool = False
    """What a loudspeaker plays, not a microphone."""
    suspended: bool = False
    muted: bool = False

    @property
    def title(self) -> str:
        return self.description or self.name


@dataclass(frozen=True, slots=True)
class Listing:
    """The sound server at one moment."""

    sources: tuple[Source, ...]
    default: str = ""
    """Name of the default source."""
    recorded: str = ""
    """Name of the source that our recorder is at; empty when that is not known."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the server for a listing, now."""


@dataclass(frozen=True, slots=True)
class Record:
    """Start a recorder, in place of the one that runs."""

    source: str = ""
    """Name; empty for the default, which the recording then follows."""


@dataclass(frozen=True, slots=True)
class Release:
    """End the recorder."""


Action = Look | Record | Release

Phase = Literal["off", "opening", "live", "interrupted"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What can be said of a microphone."""

    phase: Phase = "off"
    source: Source | None = None
    """That which is recorded, or was."""
    problem: str = ""
    """Why it is interrupted."""
    absent: bool = False
    """There is nothing that could be recorded: no such microphone, no server."""


def chosen(device: str, listing: Listing) -> Source | str:
    """The source that is meant, or what to tell a person when there is none.

    Args:
        device: a name, a description, or a part of one, capitals or not; empty for the default.
    """
    if not device:
        default = next((source for source in listing.sources if source.name == listing.default), None)
        # Without a microphone the server's default is what the loudspeakers play: nobody who dictates means that.
        return default if default and not default.monitor else "no microphone is plugged in"
    for found in (
        [source for source in listing.sources if device in (source.name, source.description)],
        _containing(device, [source for source in listing.sources if not source.monitor]),
        _containing(device, listing.sources),
    ):
        if len(found) == 1:
            return found[0]
        if found:
            return f"microphone {device!r} may be any of: {_names(found)}"
    there = _names([source for source in listing.sources if not source.monitor])
    return f"microphone {device!r} is not plugged in; there is: {there or 'none'}"


def _containing(part: str, sources: Sequence[Source]) -> list[Source]:
    part = part.casefold()
    return [source for source in sources if part in f"{source.name}\n{source.description}".casefold()]


def _names(sources: Sequence[Source]) -> str:
    return ", ".join(source.name for source in sources)


class Capture:
    """Of one microphone. Each input answers with what to do now; `deadline` says when `tick` is to be called next.

    Audio may be passed on while `passing`: it is known where it comes from. Until then, what the same recorder delivers
    may be kept.
    """

    def __init__(self, device: str = "") -> None:
        """
        Args:
            device: as in `chosen`.
        """
        self.device = device
        self.standing = Standing()
        self._since: float | None = None
        """Start of the recorder; None while there is none."""
        self._heard: float | None = None
        """Its last samples; None before the first."""
        self._placed = False
        """Whether a listing has shown it at a source that is meant."""
        self._unseen: float | None = None
        """Since when looks at where it is have had no answer."""
        self._next_look: float | None = None
        self._name = ""
        """Of the source that `device` meant last."""

    @property
    def passing(self) -> bool:
        """Whether what the recorder delivers is from the microphone that is meant."""
        return self.standing.phase == "live" and self._placed

    @property
    def deadline(self) -> float | None:
        """None: nothing is to be done before the next input."""
        times = [] if self._next_look is None else [self._next_look]
        if self._since is not None and self.standing.phase != "interrupted":
            times.append(self._last_sign(self._since) + SILENT_SECONDS)
        return min(times, default=None)

    def open(self, now: float) -> list[Action]:
        """Record from now on."""
        if self.standing.phase != "off":
            return []
        self.standing = Standing("opening")
        # The default needs no looking up: what is said meanwhile is recorded, and kept until the look is over.
        return self._record(self._name, now) if self._name or not self.device else [Look()]

    def close(self) -> list[Action]:
        """Record no longer."""
        self.standing, self._next_look = Standing(), None
        return self._release()

    def changed(self) -> list[Action]:
        """The server says that something about its sources is different."""
        # It may be that the microphone was unplugged, and the recording moved to what the loudspeakers play.
        self._placed = False
        return [] if self.standing.phase == "off" else [Look()]

    def heard(self, now: float) -> list[Action]:
        """Samples came."""
        if self._since is not None:
            self._heard = now
            self._go_live()
        return []

    def ended(self, reason: str, now: float) -> list[Action]:
        """The recorder ended by itself.

        Args:
            reason: its own words; may be empty.
        """
        if self.standing.phase == "off":
            return []
        early = self._since is not None and now - self._since < LOOK_SECONDS
        self._release()
        self._interrupt(f"the recording ended{': ' if reason else ''}{reason}")
        # One that ends at once would do so again: the server tells what changes, or it is seen a moment later.
        self._next_look = now + LOOK_SECONDS if early else None
        return [] if early else [Look()]

    def listed(self, listing: Listing | str, now: float) -> list[Action]:
        """The answer to a look.

        Args:
            listing: or why there is none, for people.
        """
        if self.standing.phase == "off":
            return []
        # Whatever is wrong is looked at again; what is right needs no looking.
        self._next_look = now + LOOK_SECONDS
        if isinstance(listing, str):
            if self._silent(now):
                self._interrupt(listing, absent=True)
                return self._release()
            # It records: the server is there, and slow. Or it never says where from, and nothing can be passed on.
            if not self._placed:
                self._unseen = now if self._unseen is None else self._unseen
                if now - self._unseen >= UNSEEN_SECONDS:
                    self._interrupt(listing)
            return []
        self._unseen = None
        source = chosen(self.device, listing)
        if isinstance(source, str):
            self._interrupt(source, absent=True)
            return self._release()
        if self.device:
            self._name = source.name
        at = next((other for other in listing.sources if other.name == listing.recorded), None)
        if at is not None and not self.device and not at.monitor:
            # Servers move recordings to a new default by themselves; one that is elsewhere was put there by a person.
            source = at
        self.standing = replace(self.standing, source=source)
        if self._since is None:
            return self._record(source.name, now)
        if at is not None and at.name != source.name:
            return self._bring_back(at, now)
        self._placed = True
        if self._silent(now):
            return self._nothing_comes(source, self._since, now)
        self._next_look = None
        self._go_live()
        return []

    def tick(self, now: float) -> list[Action]:
        """A deadline has come."""
        if self.deadline is None or now < self.deadline:
            return []
        if self._since is not None and now - self.deadline > SILENT_SECONDS:
            # We were stopped ourselves: what came meanwhile has not been read yet.
            self._heard = None if self._heard is None else now
            self._since = now if self._heard is None else self._since
        self._next_look = None
        if self._since is not None and self._silent(now) and self.standing.phase != "interrupted":
            title = self.standing.source.title if self.standing.source else "the microphone"
            self._interrupt(f"nothing comes from {title}")
        return [Look()]

    def _last_sign(self, since: float) -> float:
        return since if self._heard is None else self._heard

    def _silent(self, now: float) -> bool:
        return self._since is None or now - self._last_sign(self._since) >= SILENT_SECONDS

    def _go_live(self) -> None:
        if self._placed and self._heard is not None and self.standing.phase != "off":
            self._next_look = None
            self.standing = Standing("live", self.standing.source)

    def _nothing_comes(self, source: Source, since: float, now: float) -> list[Action]:
        if source.suspended:
            # Whoever suspended it will say when it may go on. The recorder stays, and has the first sample then.
            self._interrupt(f"{source.title} is suspended")
            return []
        self._interrupt(f"nothing comes from {source.title}")
        limit = FIRST_SECONDS if self._heard is None else STUCK_SECONDS
        return self._record(source.name, now) if now - self._last_sign(since) >= limit else []

    def _bring_back(self, at: Source, now: float) -> list[Action]:
        """The recorder is at another source than it should be: what it hears there is nobody's dictation."""
        self._placed = False
        self._interrupt(f"the recording was moved to {at.title}")
        began, wait = self._since, LOOK_SECONDS
        if began is not None and now - began < wait:
            # Whatever moved it may do so again: not more often than this.
            return []
        return self._record(self.standing.source.name if self.standing.source else "", now)

    def _record(self, source: str, now: float) -> list[Action]:
        self._since, self._heard, self._placed, self._next_look = now, None, False, None
        return [Record(source if self.device else ""), Look()]

    def _release(self) -> list[Action]:
        was, self._since, self._heard, self._placed, self._unseen = self._since, None, None, False, None
        return [] if was is None else [Release()]

    def _interrupt(self, problem: str, *, absent: bool = False) -> None:
        self.standing = Standing("interrupted", self.standing.source, problem, absent)
