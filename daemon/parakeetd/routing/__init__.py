"""Segments to devices: the choice, the queues, the threads, and what happens when a device fails."""

from __future__ import annotations

from parakeetd.routing.policy import DEFAULT_THRESHOLD_SECONDS, DeviceState, choose
from parakeetd.routing.router import DeviceReport, Router
from parakeetd.routing.worker import Engine, Routed

__all__ = ["DEFAULT_THRESHOLD_SECONDS", "DeviceReport", "DeviceState", "Engine", "Routed", "Router", "choose"]
