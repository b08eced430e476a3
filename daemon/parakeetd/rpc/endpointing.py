"""When utterances begin and end, as a client of Riva asks for it.

Riva calls the start or the end of an utterance when a share (`*_threshold`) of the last milliseconds (`*_history`) of
the model's output is not blank, or is blank. Here the frames of the voice-activity detector take the output's place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from parakeetd.errors import InputError
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr

START_MS: Final = (20, 2_000)
STOP_MS: Final = (100, 10_000)
"""What a client's times are brought into: the ranges of `Segmentation`."""

THRESHOLD: Final = (0.0, 1.0)
"""The range of shares; 0 itself means that it is not set."""

EARLY_END_KEY: Final = "early_end_ms"
"""In `custom_configuration`."""

_FIELDS: Final = (
    "start_history",
    "start_threshold",
    "stop_history",
    "stop_threshold",
    "stop_history_eou",
    "stop_threshold_eou",
)
_FIRST_PASS: Final = _FIELDS[4:]


@dataclass(frozen=True, slots=True)
class Endpointing:
    """What a client asks for; None: as the daemon is configured. Times in milliseconds, thresholds above 0 to 1."""

    start_history: int | None = None
    start_threshold: float | None = None
    stop_history: int | None = None
    stop_threshold: float | None = None
    stop_history_eou: int | None = None
    stop_threshold_eou: float | None = None
    early_end: int | None = None

    def applied(self, base: Segmentation, *, first_pass: bool) -> Segmentation:
        """The daemon's own settings with these in their place.

        Args:
            first_pass: the client can be told of one: it wants interim results.
        """
        window = self.start_history or base.onset_window_ms
        share = self.start_threshold or base.onset_ms / base.onset_window_ms
        end = self.stop_history or base.end_silence_ms
        eou = self.stop_history_eou or base.eou_silence_ms
        early = base.early_end_ms if self.early_end is None else self.early_end
        return replace(
            base,
            onset_window_ms=window,
            onset_ms=max(1, round(window * share)),
            end_silence_ms=end,
            end_threshold=self.stop_threshold or base.end_threshold,
            # One that would come no sooner than the end is none.
            eou_silence_ms=eou if first_pass and eou < end else 0,
            eou_threshold=self.stop_threshold_eou or base.eou_threshold,
            early_end_ms=early if early < end else 0,
        )


def read_endpointing(config: asr.EndpointingConfig, custom: Mapping[str, str]) -> Endpointing:
    """What a client's configuration says of it. Values of 0 or less are not set, others brought into their range.

    Raises:
        InputError: `early_end_ms` in `custom_configuration` is not a number of milliseconds.
    """
    return Endpointing(
        start_history=_within(config.start_history, START_MS),
        start_threshold=_share(config.start_threshold),
        stop_history=_within(config.stop_history, STOP_MS),
        stop_threshold=_share(config.stop_threshold),
        stop_history_eou=_within(config.stop_history_eou, STOP_MS),
        stop_threshold_eou=_share(config.stop_threshold_eou),
        early_end=_early_end(custom.get(EARLY_END_KEY)),
    )


def described(base: Segmentation, *, first_pass: bool) -> Mapping[str, str]:
    """What a client may set, within which range, and what holds for one that does not set it.

    Args:
        base: the daemon's own settings.
        first_pass: a client can be told of one.
    """
    own = {
        "start_history": base.onset_window_ms,
        "start_threshold": base.onset_ms / base.onset_window_ms,
        "stop_history": base.end_silence_ms,
        "stop_threshold": base.end_threshold,
        "stop_history_eou": base.eou_silence_ms,
        "stop_threshold_eou": base.eou_threshold,
    }
    fields = [name for name in _FIELDS if first_pass or name not in _FIRST_PASS]
    ranges = {name: THRESHOLD if "threshold" in name else STOP_MS for name in fields}
    ranges["start_history"] = START_MS
    said = {"endpointing": ",".join(fields)}
    for name in fields:
        low, high = ranges[name]
        said[f"{name}_range"] = f"{low:g}-{high:g}"
        said[f"{name}_default"] = f"{own[name]:g}"
    said[f"{EARLY_END_KEY}_range"] = f"0-{STOP_MS[1]}"
    said[f"{EARLY_END_KEY}_default"] = str(base.early_end_ms)
    return said


def _within(value: int, bounds: tuple[int, int]) -> int | None:
    low, high = bounds
    return min(max(value, low), high) if value > 0 else None


def _share(value: float) -> float | None:
    return min(value, 1.0) if value > 0 else None


def _early_end(value: str | None) -> int | None:
    if value is None:
        return None
    # Python reads no number of thousands of digits.
    if not value.isdecimal() or len(value) > 100 or int(value) > STOP_MS[1]:
        raise InputError(
            f'custom_configuration["{EARLY_END_KEY}"] must be milliseconds from 0 (never) to {STOP_MS[1]}, '
            f"not {value!r}"
        )
    return max(int(value), STOP_MS[0]) if int(value) else 0
