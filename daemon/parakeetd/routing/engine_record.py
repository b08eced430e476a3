"""What a schedule knows of a device: whether its engine is open, what it does, how it failed, how fast it is.

Time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal

from parakeetd.model.sessions import Device
from parakeetd.routing.batcher import P
from parakeetd.routing.policy import DeviceState, Speed, remaining_seconds

HUNG_RATIO = 10.0
"""A run that takes so many times what was predicted, and `HUNG_SECONDS`, is given up when another device is free."""
HUNG_SECONDS = 10.0

EngineState = Literal["closed", "opening", "open", "closing", "suspended"]
"""Of a device's engine. A suspended one may still be closing; it stays closed until it is resumed."""


@dataclass(slots=True)
class EngineRecord(Generic[P]):
    device: Device
    opening_seconds: float
    """How long its engine takes to be opened; first a guess."""
    retry_seconds: float
    """How long it is left alone when it has failed."""
    open: bool = False
    closing: bool = False
    wanted: bool = False
    """It is to be opened although nothing waits for it yet."""
    suspended: bool = False
    used_at: float = 0.0
    """When its engine was last of use, or somebody came who may need it."""
    openings: int = 0
    failures: int = 0
    warm: bool = False
    """Its engine has computed something: first runs take longer and are no measure."""
    busy_since: float | None = None
    predicted: float = 0.0
    """Seconds of what it does now, by the estimate alone."""
    corrected: float = 0.0
    """The same, by what its runs really take."""
    running: tuple[P, ...] = ()
    failed_at: float | None = None
    failure: str | None = None
    """How it last failed, until it has succeeded again."""
    speed: Speed = field(default_factory=Speed)

    @property
    def engine(self) -> EngineState:
        if self.suspended:
            return "suspended"
        if self.open:
            return "open"
        return "closed" if self.busy_since is None else "closing" if self.closing else "opening"

    def healthy(self, now: float) -> bool:
        """Whether it is worth a segment."""
        return self.failed_at is None or now - self.failed_at >= self.retry_seconds

    def hung_after(self) -> float:
        """Seconds that what it does may take."""
        return max(HUNG_SECONDS, HUNG_RATIO * self.corrected)

    def state(self, now: float, *, as_if_open: bool = False) -> DeviceState:
        """As the policy sees it."""
        ratio = self.speed.at(now)
        free_in = 0.0
        if self.busy_since is not None:
            elapsed = now - self.busy_since
            free_in = remaining_seconds(self.corrected, elapsed)
            if self.running and elapsed > self.corrected:
                # What runs already shows that it is slower than was thought.
                ratio *= elapsed / max(self.corrected, 1e-6)
        elif not self.open and not as_if_open:
            free_in = self.opening_seconds
        able = self.healthy(now) and not self.suspended
        return DeviceState(self.device, able, free_in, ratio, self.open)

    def begin_opening(self, now: float) -> None:
        self.busy_since, self.wanted = now, False
        self.predicted = self.corrected = self.opening_seconds

    def opened(self, now: float) -> None:
        if self.busy_since is not None:
            self.opening_seconds = now - self.busy_since
        self.open, self.warm, self.busy_since, self.used_at = True, False, None, now
        # Whoever asked for it meanwhile has it.
        self.wanted = False
        self.openings += 1

    def begin_closing(self, now: float) -> None:
        self.open, self.closing, self.busy_since = False, True, now
        # Whoever needs it meanwhile waits for it to be opened again.
        self.predicted = self.corrected = self.opening_seconds

    def closed(self) -> None:
        if self.closing:
            self.closing, self.busy_since = False, None

    def begin(self, pieces: tuple[P, ...], predicted: float, now: float) -> None:
        """It computes these.

        Args:
            predicted: seconds, by the estimate alone.
        """
        self.corrected = self.state(now).ratio * predicted
        self.running, self.predicted, self.busy_since = pieces, predicted, now

    def finished(self, now: float, *, measures: bool) -> None:
        """It has computed them, in one run if that is to count as a measure of how fast it is."""
        if measures and self.warm and self.busy_since is not None:
            self.speed = self.speed.after(self.predicted, now - self.busy_since, now)
        if measures:
            self.warm, self.failed_at, self.failure = True, None, None
        self.busy_since, self.running, self.used_at = None, (), now

    def failed(self, now: float, reason: str) -> None:
        """Its engine is gone."""
        self.failed_at, self.failure = now, reason
        self.failures += 1
        self.open, self.wanted, self.busy_since, self.running = False, False, None, ()

    def given_up(self, now: float, reason: str) -> tuple[P, ...]:
        """What it computed is taken from it; it may still be at it."""
        self.failed_at, self.failure = now, reason
        taken, self.running = self.running, ()
        return taken
