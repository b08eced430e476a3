"""From a source of audio to ordered results."""

from __future__ import annotations

from parakeetd.session.cutter import Cutter, Segment
from parakeetd.session.manager import ServedModel, Sessions, SessionSettings
from parakeetd.session.offline import recognize_blocks
from parakeetd.session.result import Result

__all__ = [
    "Cutter",
    "Result",
    "Segment",
    "ServedModel",
    "SessionSettings",
    "Sessions",
    "recognize_blocks",
]
