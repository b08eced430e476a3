"""What sessions tell whoever counts: numbers and names, never audio or text."""

from __future__ import annotations

from typing import Literal

from parakeetd.model.sessions import Device

Kind = Literal["final", "interim"]
Ending = Literal["completed", "refused", "idle", "bad_input", "shutdown", "cancelled", "failed"]
"""How a stream ended."""
Loss = Literal["dropped", "cancelled", "failed"]
"""Why a segment has no transcript. `dropped`: an interim that a newer one replaced, or that would have come too late;
`cancelled`: its stream did not want it any more; `failed`: no device could compute it, or it asks for nonsense."""


class Observer:
    """Notes nothing. Calls come from the event loop and from the devices' threads."""

    def stream_ended(self, model: str, ending: Ending, seconds: float) -> None:
        """A stream has ended.

        Args:
            seconds: how long it was open.
        """

    def segment_answered(
        self,
        model: str,
        device: Device,
        kind: Kind,
        *,
        audio_seconds: float,
        queued_seconds: float,
        compute_seconds: float,
        batch: int,
    ) -> None:
        """A segment has been recognised, with `batch` - 1 others in the same `compute_seconds`."""

    def segment_lost(self, model: str, kind: Kind, why: Loss) -> None:
        """A segment has no transcript."""

    def final_told(self, model: str, seconds: float) -> None:
        """A final result has gone to the client, so long after its segment's end was known."""


NOBODY = Observer()
