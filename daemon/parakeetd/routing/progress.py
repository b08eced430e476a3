"""Whether a router's work moves, for a watchdog."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    unanswered: int
    """Segments that were accepted and have no answer yet."""
    still_seconds: float
    """How long no engine has been opened, has finished a batch or has failed, counted from when there was work."""
    patience_seconds: float
    """How long what is under way may take before the router itself gives it up."""
