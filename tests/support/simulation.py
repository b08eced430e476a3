"""The router without threads, engines and time: its own schedule, a clock of events, and devices that take as long as
they are told to. Traces of segments go in, latencies come out."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from parakeetd.errors import Overloaded
from parakeetd.model.sessions import Device
from parakeetd.routing.batcher import Piece
from parakeetd.routing.policy import Estimate
from parakeetd.routing.schedule import Schedule

Truth = Callable[[Device, float, int, float], float | None]
"""What a batch really takes: device, padded seconds, pieces, when it begins. None when the device fails on it."""

FAILING_SECONDS = 0.05
"""How long a device takes to fail."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A segment of a trace."""

    at: float
    seconds: float
    final: bool = True
    stream: int | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """Segments as they arrive, and what the devices do meanwhile."""

    name: str
    arrivals: Sequence[Arrival]
    truth: Callable[[], Truth]
    """For one run: the same for each."""
    opening_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A batch that a device began with."""

    device: Device
    begun: float
    ended: float
    pieces: tuple[int, ...]
    """Arrivals by their index."""
    final: bool


@dataclass(slots=True)
class Outcome:
    """What became of a trace."""

    latencies: list[float] = field(default_factory=list)
    """Of the finals that were answered, seconds."""
    answered: dict[int, int] = field(default_factory=dict)
    """How often each arrival was answered with a transcript, by its index."""
    failed: list[int] = field(default_factory=list)
    """Arrivals that no device could compute, and finals that found no room."""
    dropped: list[int] = field(default_factory=list)
    """Interims that were not computed."""
    runs: list[Run] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Latency of finals, seconds; infinite when one was not answered."""
        ordered = sorted(self.latencies) + [float("inf")] * len(self.failed)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True, eq=False)
class _Traced(Piece):
    index: int = field(kw_only=True)
    answered: bool = False

    @property
    def gone(self) -> bool:
        return self.answered


def simulate(
    trace: Trace,
    devices: Iterable[Device],
    estimate: Estimate,
    *,
    retry_seconds: float = 5.0,
    max_queued: int = 100_000,
) -> Outcome:
    """Run a trace through the schedule with these devices, until all is answered."""
    simulation = _Simulation(trace, tuple(devices), estimate, retry_seconds, max_queued)
    return simulation.run()


class _Simulation:
    def __init__(
        self,
        trace: Trace,
        devices: tuple[Device, ...],
        estimate: Estimate,
        retry_seconds: float,
        max_queued: int,
    ) -> None:
        self._trace = trace
        self._truth = trace.truth()
        self._schedule: Schedule[_Traced] = Schedule(
            devices, estimate, retry_seconds=retry_seconds, max_queued=max_queued
        )
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = count()
        self._free = set(devices)
        self._asked: dict[Device, float] = {}
        self._outcome = Outcome()
        for device in devices:
            self._schedule.want(device, 0.0)
            self._schedule.step(device, 0.0)
            self._schedule.opened(device, 0.0)

    def run(self) -> Outcome:
        for index, arrival in enumerate(self._trace.arrivals):
            self._at(arrival.at, self._arrive(index, arrival))
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
            self._settle(now)
        return self._outcome

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._number), happen))

    def _arrive(self, index: int, arrival: Arrival) -> Callable[[float], None]:
        def happen(now: float) -> None:
            piece = _Traced(arrival.seconds, arrival.final, now, arrival.stream, index=index)
            try:
                self._schedule.add(piece, now)
            except Overloaded:
                self._outcome.failed.append(index)

        return happen

    def _settle(self, now: float) -> None:
        """Ask the devices that are free what they do now, and again when one of them has begun with something."""
        schedule, outcome = self._schedule, self._outcome
        asking = sorted(self._free)
        while asking:
            device = asking.pop(0)
            step = schedule.step(device, now)
            if step.opens or step.batch:
                self._free.discard(device)
                asking = sorted(self._free)
                if step.opens:
                    self._at(now + self._trace.opening_seconds, self._opened(device))
                else:
                    self._begin(device, step.batch, now)
            elif step.wait_seconds is not None and self._asked.get(device, -1.0) <= now:
                self._asked[device] = now + step.wait_seconds
                self._at(now + step.wait_seconds, lambda now: None)
        outcome.dropped += [piece.index for piece, _ in schedule.dropped]
        outcome.failed += [piece.index for piece, _ in schedule.hopeless]
        for piece, _ in [*schedule.dropped, *schedule.hopeless]:
            piece.answered = True
        schedule.dropped.clear()
        schedule.hopeless.clear()

    def _begin(self, device: Device, batch: tuple[_Traced, ...], now: float) -> None:
        padded = max(piece.seconds for piece in batch)
        took = self._truth(device, padded, len(batch), now)
        ended = now + (FAILING_SECONDS if took is None else took)
        pieces = tuple(piece.index for piece in batch)
        self._outcome.runs.append(Run(device, now, ended, pieces, batch[0].final))
        self._at(ended, self._failed(device) if took is None else self._finished(device, batch))

    def _opened(self, device: Device) -> Callable[[float], None]:
        def happen(now: float) -> None:
            self._schedule.opened(device, now)
            self._free.add(device)

        return happen

    def _failed(self, device: Device) -> Callable[[float], None]:
        def happen(now: float) -> None:
            self._schedule.failed(device, now, "it was told to")
            self._free.add(device)

        return happen

    def _finished(self, device: Device, batch: tuple[_Traced, ...]) -> Callable[[float], None]:
        def happen(now: float) -> None:
            self._schedule.finished(device, now)
            self._free.add(device)
            for piece in batch:
                if piece.answered:
                    continue
                piece.answered = True
                self._outcome.answered[piece.index] = self._outcome.answered.get(piece.index, 0) + 1
                if piece.final:
                    self._outcome.latencies.append(now - piece.submitted)

        return happen


@dataclass(frozen=True, slots=True)
class Machine:
    """Times of a machine. A GPU pays for each run, and then little for each second; a CPU pays for the seconds."""

    cpu_speed: float = 12.0
    """Seconds of audio that the CPU computes in a second."""
    gpu_speed: float = 300.0
    gpu_delay: float = 0.04
    """Seconds of a GPU's run that do not depend on its audio."""

    def estimate(self, device: Device, seconds: float, count: int) -> float:
        """What calibration would have measured."""
        if device == "cuda":
            return self.gpu_delay + count * seconds / self.gpu_speed
        return count * (0.01 + seconds / self.cpu_speed)

    def truth(self, noise: float = 0.1, seed: int = 0, **factors: float) -> Truth:
        """Times around the estimates, each device slower by its factor."""
        chance = random.Random(seed)

        def took(device: Device, seconds: float, count: int, now: float) -> float:
            factor = factors.get(device, 1.0) * chance.uniform(1 - noise, 1 + noise)
            return factor * self.estimate(device, seconds, count)

        return took


def lengths(chance: random.Random) -> float:
    """Length of a spoken segment in seconds: most are short, some fill the longest that is cut."""
    return min(20.0, max(0.4, chance.lognormvariate(1.1, 0.8)))


def steady(chance: random.Random, seconds: float, rate: float) -> list[Arrival]:
    """Finals of lengths as in speech, so many a second."""
    arrivals, now = [], 0.0
    while (now := now + chance.expovariate(rate)) < seconds:
        arrivals.append(Arrival(now, lengths(chance)))
    return arrivals


def bursts(chance: random.Random, seconds: float, size: int) -> list[Arrival]:
    """So many finals at once every five seconds, as when recordings are handed in."""
    return [
        Arrival(at + chance.uniform(0, 0.003), lengths(chance))
        for at in range(0, int(seconds), 5)
        for _ in range(size)
    ]


def mixed(chance: random.Random, seconds: float, rate: float) -> list[Arrival]:
    """Commands of a second and dictation of fifteen, one after the other."""
    arrivals, now = [], 0.0
    while (now := now + chance.expovariate(rate)) < seconds:
        arrivals.append(Arrival(now, chance.choice([0.6, 1.0, 1.5, 12.0, 15.0, 20.0])))
    return arrivals


def streams(chance: random.Random, seconds: float, number: int) -> list[Arrival]:
    """Streams at the pace of real time: a final when a segment ends, an interim each half second before."""
    arrivals = []
    for stream in range(number):
        now = chance.uniform(0, 5)
        while now < seconds:
            length = lengths(chance)
            arrivals += [
                Arrival(now + step / 2, step / 2, final=False, stream=stream)
                for step in range(1, int(length * 2))
            ]
            now += length
            arrivals.append(Arrival(now, length, stream=stream))
            now += chance.uniform(0.3, 2.0)
    return sorted(arrivals, key=lambda arrival: arrival.at)


def usual(machine: Machine, seed: int, **factors: float) -> Callable[[], Truth]:
    """The machine as it was measured, or with devices slower by these factors."""
    return lambda: machine.truth(seed=seed, **factors)


def dead_between(truth: Truth, device: Device, begin: float, end: float) -> Truth:
    """The device fails in this time."""
    return lambda which, seconds, count, now: (
        None if which == device and begin <= now < end else truth(which, seconds, count, now)
    )


def hung_once(truth: Truth, device: Device, begin: float, seconds_hung: float) -> Truth:
    """The device's first run after `begin` takes `seconds_hung`."""
    hung: list[float] = []

    def took(which: Device, seconds: float, count: int, now: float) -> float | None:
        if which == device and now >= begin and not hung:
            hung.append(now)
            return seconds_hung
        return truth(which, seconds, count, now)

    return took


def slow_between(truth: Truth, device: Device, begin: float, end: float, factor: float) -> Truth:
    """The device is slower by this factor in this time."""

    def took(which: Device, seconds: float, count: int, now: float) -> float | None:
        plain = truth(which, seconds, count, now)
        return plain if plain is None or which != device or not begin <= now < end else plain * factor

    return took


def traces(machine: Machine, seed: int, load: float = 1.0, seconds: float = 120.0) -> dict[str, Trace]:
    """All kinds of traces by name.

    Args:
        load: 1 is three finals a second: more than the CPU of a usual machine can do, a seventh of what its GPU can.
    """

    def chance(kind: int) -> random.Random:
        return random.Random(seed * 1000 + kind)

    rate = 3.0 * load
    plain: Mapping[str, Sequence[Arrival]] = {
        "steady": steady(chance(1), seconds, rate),
        "bursts": bursts(chance(2), seconds, int(20 * load)),
        "short and long": mixed(chance(3), seconds, rate),
        "streams": streams(chance(4), seconds, int(12 * load)),
    }
    made = [Trace(name, arrivals, usual(machine, seed)) for name, arrivals in plain.items()]
    made.append(Trace("slow GPU", steady(chance(5), seconds, rate), usual(machine, seed, cuda=3.0)))
    made.append(
        Trace(
            "GPU slow for a while",
            steady(chance(6), seconds, rate),
            lambda: slow_between(machine.truth(seed=seed), "cuda", seconds / 3, seconds / 2, 5.0),
        )
    )
    made.append(
        Trace(
            "dead GPU",
            steady(chance(7), seconds, rate),
            lambda: dead_between(machine.truth(seed=seed), "cuda", seconds / 3, seconds / 2),
            opening_seconds=3.0,
        )
    )
    made.append(
        Trace(
            "hung GPU",
            steady(chance(8), seconds, rate),
            lambda: hung_once(machine.truth(seed=seed), "cuda", seconds / 3, 30.0),
        )
    )
    made.append(Trace("slow CPU", steady(chance(9), seconds, rate), usual(machine, seed, cpu=3.0)))
    return {trace.name: trace for trace in made}
