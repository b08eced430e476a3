"""Which device takes a segment: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from parakeetd.model.sessions import Device

DEFAULT_THRESHOLD_SECONDS = 4.0
"""Segments from this length go to the GPU until the machine has been calibrated: below it, waking a GPU and
copying to it takes longer than a CPU needs."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    device: Device
    healthy: bool
    """It works as far as is known, or its time to be tried again has come."""


def choose(
    seconds: float,
    devices: Sequence[DeviceState],
    *,
    threshold_seconds: float = DEFAULT_THRESHOLD_SECONDS,
    tried: Collection[Device] = (),
) -> Device | None:
    """The device for a segment of this length.

    A GPU takes what is at least as long as the threshold, the CPU what is shorter. Health comes before length, and
    an unhealthy device before none at all: it may have recovered, and the segment must be answered.

    Args:
        tried: devices on which this segment has failed; they are not chosen again.

    Returns:
        None when every device was tried.
    """
    preferred: Device = "cuda" if seconds >= threshold_seconds else "cpu"
    untried = [state for state in devices if state.device not in tried]
    ranked = sorted(untried, key=lambda state: (not state.healthy, state.device != preferred))
    return ranked[0].device if ranked else None
