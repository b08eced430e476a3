"""Segments to devices: the choice, the queue, the threads, and what happens when a device fails."""

from __future__ import annotations

from parakeetd.routing.batcher import BatchLimits
from parakeetd.routing.home import Engine, Home, InProcess, Opener
from parakeetd.routing.policy import (
    DEFAULT_THRESHOLD_SECONDS,
    SMALL_ONCE,
    Estimate,
    default_estimate,
    limits_for,
)
from parakeetd.routing.router import DeviceReport, Router
from parakeetd.routing.schedule import Dropped
from parakeetd.routing.worker import Routed

__all__ = [
    "DEFAULT_THRESHOLD_SECONDS",
    "SMALL_ONCE",
    "BatchLimits",
    "DeviceReport",
    "Dropped",
    "Engine",
    "Estimate",
    "Home",
    "InProcess",
    "Opener",
    "Routed",
    "Router",
    "default_estimate",
    "limits_for",
]
