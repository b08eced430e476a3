"""Types text into the window that has the focus, through the tools that desktops have for that."""

from __future__ import annotations

from parakeetd.keyboard.choice import WAYS, Session, WayName, order
from parakeetd.keyboard.typist import Typist
from parakeetd.keyboard.ways import Way, ways_of

__all__ = ["WAYS", "Session", "Typist", "Way", "WayName", "order", "ways_of"]
