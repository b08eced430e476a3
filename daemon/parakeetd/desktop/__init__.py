"""The microphone on the session's D-Bus, for desktop shortcuts, extensions and panels."""

from __future__ import annotations

from parakeetd.desktop.bus import PATH, DesktopBus
from parakeetd.desktop.interface import INTERFACE

__all__ = ["INTERFACE", "PATH", "DesktopBus"]
