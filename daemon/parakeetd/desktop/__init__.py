"""The microphone on the session's D-Bus, for desktop shortcuts, extensions and panels; and a notification there."""

from __future__ import annotations

from parakeetd.desktop.bus import PATH, DesktopBus
from parakeetd.desktop.interface import INTERFACE
from parakeetd.desktop.notification import Notification

__all__ = ["INTERFACE", "PATH", "DesktopBus", "Notification"]
