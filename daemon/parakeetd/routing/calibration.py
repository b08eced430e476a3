"""How long this machine takes for a segment: measured once, kept in a file, interpolated when a segment is routed.

A table holds for the machine and the bundle it was measured on and for no other: both are written into it, and
`differences` says what has changed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import get_args

from parakeetd.model.bundle import Precision
from parakeetd.model.forms import Decoding, check_record
from parakeetd.model.sessions import Device
from parakeetd.routing.policy import Estimate, default_estimate

DEVICES: tuple[Device, ...] = get_args(Device)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device's times depend on, beside the machine."""

    device: Device
    precision: Precision
    threads: int = 0
    """Threads of one segment on the CPU; 0 on a GPU."""
    lanes: int = 1
    """Groups of a batch that are computed side by side."""
    hardware: str = ""
    """Name and driver of the GPU; empty for the CPU, which is the machine's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What times depend on: a table is used only where all of this is the same."""

    processor: str
    cores: int
    """Physical cores that the process may use."""
    memory_gib: int
    onnxruntime: str
    parakeetd: str
    bundle: str
    """Name of the model."""
    manifest_sha256: str
    devices: tuple[DeviceIdentity, ...]

    def of(self, device: Device) -> DeviceIdentity | None:
        return next((item for item in self.devices if item.device == device), None)


@dataclass(frozen=True, slots=True)
class Point:
    """The time that a batch took."""

    device: Device
    seconds: float
    """Length of each of its segments."""
    batch: int
    """How many segments."""
    median_seconds: float
    """For the whole batch."""


@dataclass(frozen=True)
class Calibration:
    """A table of measured times."""

    identity: Identity
    points: tuple[Point, ...]
    measured: str
    """When, as ISO 8601 in UTC."""
    decoding: Mapping[str, Mapping[str, Decoding]] = field(default_factory=dict)
    """What decodes fastest here: device -> batch size -> decoding, as a bundle's manifest has it. The times above were
    taken with it. Devices that are not in it go by the manifest's."""

    def __post_init__(self) -> None:
        for device in self.devices:
            if not any(point.batch == 1 for point in self.points if point.device == device):
                raise ValueError(f"no single segment was measured on {device}")
        for point in self.points:
            if self.identity.of(point.device) is None:
                raise ValueError(f"{point.device} has times and no identity")
            if not all(
                math.isfinite(number) and number > 0
                for number in (point.seconds, point.batch, point.median_seconds)
            ):
                raise ValueError(f"impossible times: {point}")
        for place, count in Counter((p.device, p.seconds, p.batch) for p in self.points).items():
            if count > 1:
                device, seconds, batch = place
                raise ValueError(f"{device} has {count} times for {seconds:g} s in a batch of {batch}")
        for name, record in self.decoding.items():
            check_record(name, record)

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """Devices with times."""
        found = {point.device for point in self.points}
        return tuple(device for device in DEVICES if device in found)

    def predict(self, device: Device, seconds: float, batch: int = 1) -> float:
        """Seconds that a batch of segments of one length takes on a device.

        Linear between what was measured, and never less for a longer segment or a larger batch. Below the shortest
        length the time stays as it is there; beyond the longest it goes on as steeply as between the last two, or
        as over all of them if that is steeper. More segments than were measured at once go in turns.

        Args:
            seconds: length that the segments are padded to.

        Raises:
            KeyError: the device was not measured.
        """
        table = self._tables[device]
        turns, rest = divmod(max(batch, 1), int(table.batches[-1]))
        times = table.at(seconds)
        return turns * times[-1] + (_interpolated(rest, table.batches, times) if rest else 0.0)

    def crossover(self) -> float | None:
        """Length in seconds from which a single segment is faster on the GPU; 0 if it always is, None if never.

        A length beyond those measured is not guessed.
        """
        if not {"cpu", "cuda"} <= set(self.devices):
            return None
        lengths = sorted({point.seconds for point in self.points if point.batch == 1})
        gains = [self.predict("cpu", length) - self.predict("cuda", length) for length in lengths]
        if gains[-1] <= 0:
            return None
        slower = [i for i, gain in enumerate(gains) if gain <= 0]
        if not slower:
            return 0.0
        at = slower[-1]
        share = -gains[at] / (gains[at + 1] - gains[at])
        return lengths[at] + share * (lengths[at + 1] - lengths[at])

    def differences(self, wanted: Identity) -> list[str]:
        """What keeps this table from being used under an identity, in words; nothing when it fits.

        Only the devices of `wanted` count: a table of CPU and GPU serves a daemon that uses the CPU alone.
        """
        ours, found = self.identity, []
        for name, label in _FIELDS.items():
            was, now = getattr(ours, name), getattr(wanted, name)
            if was != now:
                found.append(f"{label} is another" if "sha256" in name else f"{label} was {was} and is {now}")
        for device in wanted.devices:
            measured = ours.of(device.device)
            if measured is None or device.device not in self.devices:
                found.append(f"{device.device} was not measured")
                continue
            for name, label in _DEVICE_FIELDS.items():
                was, now = getattr(measured, name), getattr(device, name)
                if was != now:
                    found.append(f"{label} on {device.device} was {was} and is {now}")
        return found

    @cached_property
    def _tables(self) -> Mapping[Device, _Table]:
        return {device: _Table.of([p for p in self.points if p.device == device]) for device in self.devices}


_FIELDS: Mapping[str, str] = {
    "processor": "the processor",
    "cores": "the number of cores",
    "memory_gib": "the memory in GiB",
    "onnxruntime": "ONNX Runtime",
    "parakeetd": "parakeetd",
    "bundle": "the model",
    "manifest_sha256": "the model's content",
}

_DEVICE_FIELDS: Mapping[str, str] = {
    "precision": "the precision",
    "threads": "the number of threads",
    "hardware": "the GPU",
}


@dataclass(frozen=True, slots=True)
class _Table:
    """One device's times, made monotone. Plain lists: the router asks hundreds of times when it plans, and NumPy takes
    ten times as long for so few numbers."""

    batches: list[float]
    """Ascending; the first is 1."""
    curves: list[tuple[list[float], list[float]]]
    """Lengths and times for each batch size."""

    @classmethod
    def of(cls, points: Sequence[Point]) -> _Table:
        batches = sorted({point.batch for point in points})
        curves = []
        for batch in batches:
            rows = sorted((p.seconds, p.median_seconds) for p in points if p.batch == batch)
            curves.append(([length for length, _ in rows], _monotone([time for _, time in rows])))
        return cls([float(batch) for batch in batches], curves)

    def at(self, seconds: float) -> list[float]:
        """Time of each batch size at this length, ascending."""
        return _monotone([_on(lengths, times, seconds) for lengths, times in self.curves])


def _monotone(times: Sequence[float]) -> list[float]:
    """Times that never fall. What took longer than something larger was disturbed: nothing is too fast by accident."""
    return list(accumulate(reversed(times), min))[::-1]


def _interpolated(at: float, places: Sequence[float], values: Sequence[float]) -> float:
    """Linear between places, the first value before them and the last one behind."""
    right = bisect_right(places, at)
    if right == 0:
        return values[0]
    if right == len(places):
        return values[-1]
    share = (at - places[right - 1]) / (places[right] - places[right - 1])
    return values[right - 1] + share * (values[right] - values[right - 1])


def _on(lengths: Sequence[float], times: Sequence[float], seconds: float) -> float:
    """A curve at a length; `Calibration.predict` says how it goes on at its ends."""
    if seconds <= lengths[-1]:
        return _interpolated(seconds, lengths, times)
    if len(lengths) == 1:
        # One length says nothing of longer ones but that they take their share.
        return times[0] * seconds / lengths[0]
    last = (times[-1] - times[-2]) / (lengths[-1] - lengths[-2])
    whole = (times[-1] - times[0]) / (lengths[-1] - lengths[0])
    return times[-1] + max(last, whole) * (seconds - lengths[-1])


def estimate_of(calibration: Calibration) -> Estimate:
    """The router's predictions by a table; by the defaults for a device that is not in it."""
    guess = default_estimate()

    # The router asks for the same segments each time that it plans.
    @lru_cache(maxsize=4096)
    def estimate(device: Device, seconds: float, count: int) -> float:
        if device in calibration.devices:
            return calibration.predict(device, seconds, count)
        return guess(device, seconds, count)

    return estimate


def merged(older: Calibration, newer: Calibration) -> Calibration:
    """The newer table, with the times of the devices that only the older one has, if they hold for the same machine."""
    kept = tuple(item for item in older.identity.devices if newer.identity.of(item.device) is None)
    if older.differences(replace(newer.identity, devices=kept)):
        return newer
    points = tuple(point for point in older.points if point.device in {item.device for item in kept})
    identity = replace(newer.identity, devices=newer.identity.devices + kept)
    decoding: dict[str, Mapping[str, Decoding]] = {
        item.device: older.decoding[item.device] for item in kept if item.device in older.decoding
    }
    return Calibration(identity, newer.points + points, newer.measured, {**newer.decoding, **decoding})


def in_words(calibration: Calibration) -> str:
    """Where the curves cross, for people."""
    crossover = calibration.crossover()
    if len(calibration.devices) < 2:
        return f"only {calibration.devices[0]} was measured"
    if crossover is None:
        return "the CPU is faster at every length measured"
    if crossover == 0:
        return "the GPU is faster at every length measured"
    return f"the GPU is faster from {crossover:.1f} s"
