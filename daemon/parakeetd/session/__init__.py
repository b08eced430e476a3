"""From a source of audio to ordered results."""

from __future__ import annotations

from parakeetd.session.cutter import Cutter, Segment
from parakeetd.session.manager import Sessions, SessionSettings
from parakeetd.session.models import Models, ServedModel
from parakeetd.session.observer import Observer
from parakeetd.session.offline import recognize_blocks
from parakeetd.session.places import HERE, Client, Places
from parakeetd.session.result import Result

__all__ = [
    "HERE",
    "Client",
    "Cutter",
    "Models",
    "Observer",
    "Places",
    "Result",
    "Segment",
    "ServedModel",
    "SessionSettings",
    "Sessions",
    "recognize_blocks",
]
