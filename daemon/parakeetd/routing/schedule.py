"""What waits, what runs where, and what each device does next. Knows no threads and no clock: time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Generic

from parakeetd.errors import Overloaded
from parakeetd.model.sessions import Device
from parakeetd.routing import engine_record
from parakeetd.routing.batcher import BatchLimits, P, company_seconds
from parakeetd.routing.engine_record import EngineRecord, EngineState
from parakeetd.routing.policy import (
    DEFAULT_LIMITS,
    INTERIM_USEFUL_SECONDS,
    OPENING_SECONDS,
    Estimate,
    Plan,
    Speed,
    default_estimate,
    plan,
)

RETRY_SECONDS = 30.0
"""How long a device that failed is left alone before it is tried again."""

GAP_WEIGHT = 0.3
"""Weight of the newest gap between finals in their usual gap, a running geometric mean: a burst shows at once."""

LOOK_AGAIN_SECONDS = 0.002
"""At least this long between two looks at a device that is overdue."""


class Dropped(Exception):
    """An interim that is not computed: a newer one has taken its place, or its answer would come too late to be of
    use. Its stream goes on as if there had been none."""


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """What a free device does next: one of four things."""

    batch: tuple[P, ...] = ()
    """Compute these together."""
    opens: bool = False
    """Open the engine."""
    closes: bool = False
    """Close the engine."""
    wait_seconds: float | None = None
    """None of these: ask again when something has changed, and after this time if it is given."""


class Schedule(Generic[P]):
    """The state behind a router. Its caller sees to it that one thread at a time is in here."""

    def __init__(
        self,
        devices: Iterable[Device],
        estimate: Estimate | None = None,
        *,
        threshold_seconds: float | None = None,
        limits: Mapping[Device, BatchLimits] = DEFAULT_LIMITS,
        max_queued: int = 256,
        retry_seconds: float = RETRY_SECONDS,
        idle_seconds: Mapping[Device, float] | None = None,
    ) -> None:
        """
        Args:
            idle_seconds: how long an engine that is not used stays open; forever where there is none.
        """
        self.estimate = _remembered(estimate or default_estimate())
        self.waiting: list[P] = []
        """Accepted and not begun."""
        self.dropped: list[tuple[P, str]] = []
        """Interims that will not be computed and why, for the caller to answer and to remove from here."""
        self.hopeless: list[tuple[P, str]] = []
        """Pieces on which every device failed and how the last one did; likewise."""
        self.hung: list[tuple[Device, str]] = []
        """Devices whose run was given up, for the caller to end it if it can; likewise."""
        self._threshold_seconds = threshold_seconds
        self._usual_limits = limits
        self._limits = dict(limits)
        self.max_queued = max_queued
        """Pieces that may wait."""
        self._idle_seconds = dict(idle_seconds or {})
        self._records: dict[Device, EngineRecord[P]] = {
            device: EngineRecord(device, OPENING_SECONDS[device], retry_seconds) for device in devices
        }
        self._gap_seconds = 1.0
        self._last_final = float("-inf")

    def use_estimate(self, estimate: Estimate) -> None:
        """Predict by this from now on; what was learned about the old one does not count."""
        self.estimate = _remembered(estimate)
        for record in self._records.values():
            record.speed = Speed()

    def add(self, piece: P, now: float) -> None:
        """Accept a piece.

        An interim takes the place of an older one of its stream that waits. For a final that finds no room an interim
        is dropped.

        Raises:
            Overloaded: as many as may wait do so already, and they are finals.
        """
        self._forget_gone()
        if not piece.final and piece.stream is not None:
            self._supersede(piece)
        if len(self.waiting) >= self.max_queued and not self._make_room(piece):
            return
        if piece.final:
            gap = min(max(now - self._last_final, 1e-4), 1.0)
            self._gap_seconds *= (gap / self._gap_seconds) ** GAP_WEIGHT
            self._last_final = now
        self.waiting.append(piece)

    def step(self, device: Device, now: float) -> Step[P]:
        """What this device, which is free, should do; it counts as doing that from now on."""
        record = self._records[device]
        if record.busy_since is not None:
            # Another thread opens its engine.
            return Step()
        if record.suspended:
            return _close(record, now) if record.open else Step()
        if record.wanted and not record.open:
            return _open(record, now)
        self._forget_gone()
        self._give_up_hung(device, now)
        self._drop_late(
            [
                piece
                for piece in self.waiting
                if not piece.final and now - piece.submitted > INTERIM_USEFUL_SECONDS
            ]
        )
        if not self.waiting:
            return self._rest(device, now)
        # An engine is opened when it would be of use if it were open; until it is, others do the work.
        made = self._plan(now, device)
        self._drop_late(made.too_late)
        batches = made.batches[device]
        if not batches:
            return self._rest(device, now)
        if not record.open:
            return _open(record, now)
        batch, ratio = batches[0], record.state(now).ratio
        company = company_seconds(
            batch,
            now,
            gap_seconds=self._gap_seconds,
            time=lambda seconds, count: ratio * self.estimate(device, seconds, count),
            limits=self._limits[device],
        )
        if company > 0:
            return Step(wait_seconds=company)
        taken = set(map(id, batch.pieces))
        self.waiting = [piece for piece in self.waiting if id(piece) not in taken]
        record.begin(tuple(batch.pieces), self.estimate(device, batch.longest, len(batch.pieces)), now)
        return Step(batch=record.running)

    def want(self, device: Device, now: float) -> None:
        """Have the device's engine opened, and if it is open kept for another while."""
        record = self._records[device]
        record.wanted, record.used_at = not record.open, now

    def wake(self, now: float) -> bool:
        """Somebody is about to speak: have closed engines opened, unless a GPU's is open already.

        The CPU's serves until the GPU's is there. What is suspended or failed a short time ago is left alone.

        Returns:
            Whether there is one to be opened.
        """
        asked = False
        gpu_open = any(record.open for device, record in self._records.items() if device != "cpu")
        for device, record in self._records.items():
            if record.open:
                record.used_at = now
            elif not gpu_open and not record.suspended and record.healthy(now):
                self.want(device, now)
                asked = True
        return asked

    def suspend(self, device: Device) -> None:
        """The device's engine is to leave when it has done what it does, and to stay away."""
        self._records[device].suspended, self._records[device].wanted = True, False

    def resume(self, device: Device) -> None:
        """Its engine may be opened again."""
        self._records[device].suspended = False

    def opened(self, device: Device, now: float) -> None:
        """It is open."""
        self._records[device].opened(now)
        # What had no room before may have it in a new engine: others of the device come and go, too.
        self._limits[device] = self._usual_limits[device]

    def closed(self, device: Device) -> None:
        """It is closed."""
        self._records[device].closed()

    def finished(self, device: Device, now: float, *, measures: bool = True) -> None:
        """The device has computed its batch.

        Args:
            measures: it did so in one run, which shows that it works and how fast.
        """
        self._records[device].finished(now, measures=measures)

    def failed(self, device: Device, now: float, reason: str) -> None:
        """The device failed, at its batch or while it was opened. Its pieces wait for another, or for another try.

        Of several pieces that failed together none is held to be at fault: each is tried again, by itself.
        """
        record = self._records[device]
        # When it did not open, those that wait count as handed over.
        pieces = [piece for piece in (record.running if record.open else self.waiting) if not piece.gone]
        if record.open:
            self.waiting += pieces
        together = record.open and len(pieces) > 1
        record.failed(now, reason)
        for piece in pieces:
            if together:
                piece.alone = True
            else:
                piece.tried.add(device)
        self._take_out_hopeless(reason)

    def too_large(self, device: Device) -> None:
        """The device has no memory for its batch of several pieces. They wait again, and until its engine is opened
        anew its batches have at most half as many padded seconds."""
        record = self._records[device]
        # Nothing is left of a batch that was given up before.
        if record.running:
            padded = len(record.running) * max(piece.seconds for piece in record.running)
            self._limits[device] = replace(self._limits[device], seconds=padded / 2)
        self.waiting += [piece for piece in record.running if not piece.gone]
        record.busy_since, record.running = None, ()

    def healthy(self, device: Device, now: float) -> bool:
        """Whether it is worth a segment."""
        return self._records[device].healthy(now)

    def failure(self, device: Device) -> str | None:
        """Why it last failed, until it has succeeded again."""
        return self._records[device].failure

    def engine(self, device: Device) -> EngineState:
        return self._records[device].engine

    def idles(self, device: Device) -> bool:
        """Whether its engine is open and does nothing."""
        record = self._records[device]
        return record.open and record.busy_since is None

    def openings(self, device: Device) -> int:
        """How often its engine was opened."""
        return self._records[device].openings

    def failures(self, device: Device) -> int:
        """How often it failed: at a batch, or at being opened."""
        return self._records[device].failures

    def patience(self) -> float:
        """Seconds that what is under way may take before it counts as hung, and in which a failed device is tried
        again."""
        busy = [record.hung_after() for record in self._records.values() if record.busy_since is not None]
        resting = [
            record.retry_seconds
            for record in self._records.values()
            if record.busy_since is None and record.failed_at is not None
        ]
        return max([engine_record.HUNG_SECONDS, *busy, *resting])

    def running(self, device: Device) -> int:
        """Pieces that it computes now."""
        return len(self._records[device].running)

    def ratio(self, device: Device, now: float) -> float:
        """Its real over predicted times of late."""
        return self._records[device].speed.at(now)

    def _plan(self, now: float, deciding: Device) -> Plan[P]:
        return plan(
            self.waiting,
            [record.state(now, as_if_open=device == deciding) for device, record in self._records.items()],
            self.estimate,
            now=now,
            limits=self._limits,
            threshold_seconds=self._threshold_seconds,
            deciding=deciding,
        )

    def _rest(self, device: Device, now: float) -> Step[P]:
        """There is nothing to compute for this device."""
        record, idle = self._records[device], self._idle_seconds.get(device)
        look_again = self._look_again(device, now)
        if not record.open or idle is None:
            return Step(wait_seconds=look_again)
        left = record.used_at + idle - now
        if left <= 0:
            return _close(record, now)
        return Step(wait_seconds=left if look_again is None else min(left, look_again))

    def _look_again(self, device: Device, now: float) -> float | None:
        """When the plan may change by time alone: something that runs elsewhere is overdue, or this device's health
        returns. None when only an event can change it."""
        times = []
        record = self._records[device]
        if self.waiting and record.failed_at is not None and not record.healthy(now):
            times.append(record.failed_at + record.retry_seconds - now)
        for other, busy in self._records.items():
            if other == device or busy.busy_since is None:
                continue
            elapsed = now - busy.busy_since
            if self.waiting:
                times.append(busy.corrected - elapsed if elapsed < busy.corrected else elapsed / 4)
            elif busy.running:
                times.append(busy.hung_after() - elapsed)
        return max(min(times), LOOK_AGAIN_SECONDS) if times else None

    def _give_up_hung(self, device: Device, now: float) -> None:
        """Take back what runs on other devices for far too long. Whoever answers first answers."""
        for other, record in self._records.items():
            if other == device or record.busy_since is None or not record.running:
                continue
            elapsed = now - record.busy_since
            if elapsed >= record.hung_after():
                reason = f"no answer after {elapsed:.0f} s"
                pieces = [piece for piece in record.given_up(now, reason) if not piece.gone]
                for piece in pieces:
                    piece.tried.add(other)
                self.waiting += pieces
                self.hung.append((other, reason))
                self._take_out_hopeless(reason)

    def _take_out_hopeless(self, reason: str) -> None:
        hopeless = [piece for piece in self.waiting if piece.tried.issuperset(self._records)]
        self.hopeless += [(piece, reason) for piece in hopeless]
        self.waiting = [piece for piece in self.waiting if not piece.tried.issuperset(self._records)]

    def _forget_gone(self) -> None:
        self.waiting = [piece for piece in self.waiting if not piece.gone]

    def _supersede(self, piece: P) -> None:
        for older in self.waiting:
            if not older.final and older.stream == piece.stream:
                piece.since = older.since
                self._drop([older], "a newer one has taken its place")

    def _make_room(self, piece: P) -> bool:
        """False when the piece is an interim and there is no room for it."""
        if not piece.final:
            self._drop([piece], "too many segments wait")
            return False
        interims = [other for other in self.waiting if not other.final]
        if not interims:
            raise Overloaded(
                f"{len(self.waiting)} segments are waiting, the limit is {self.max_queued}; try again later"
            )
        self._drop([min(interims, key=lambda other: other.since)], "a final needed its place")
        return True

    def _drop_late(self, interims: list[P]) -> None:
        self._drop(interims, "it would have come too late")

    def _drop(self, pieces: list[P], why: str) -> None:
        dropped = set(map(id, pieces))
        self.dropped += [(piece, why) for piece in pieces]
        if dropped:
            self.waiting = [piece for piece in self.waiting if id(piece) not in dropped]


def _open(record: EngineRecord[P], now: float) -> Step[P]:
    record.begin_opening(now)
    return Step(opens=True)


def _close(record: EngineRecord[P], now: float) -> Step[P]:
    record.begin_closing(now)
    return Step(closes=True)


def _remembered(estimate: Estimate) -> Estimate:
    """The estimate by tenths of a second, since plans ask for the same again and again."""

    @lru_cache(maxsize=4096)
    def at_tenths(device: Device, tenths: int, count: int) -> float:
        return estimate(device, tenths / 10, count)

    return lambda device, seconds, count: at_tenths(device, max(1, round(seconds * 10)), count)
