"""The forms a model's transducer decoder comes in, and which of them serves a device and batch size.

Which is fastest depends on the machine and the model, so convert measures and writes down what it found.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Form = Literal["steps", "loop", "fused"]
"""`steps`: projection, prediction network and joint, called from Python when each is needed. `loop`: the whole greedy
search in one graph. `fused`: NeMo's own graph of prediction network and joint, one call per step and row."""

FORMS: tuple[Form, ...] = typing.get_args(Form)

GRAPHS: Final[Mapping[Form, tuple[str, ...]]] = {
    "steps": ("projection-model", "prediction-model", "joint-model"),
    "loop": ("greedy-model",),
    "fused": ("decoder_joint-model",),
}
"""The graphs that each form runs."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a batch is decoded."""

    form: Form
    look_ahead: int = 1
    """Frames the joint looks at in one product; of `steps` only."""
    milliseconds: float = 0.0
    """What it took when it was measured; 0 when it was not."""


DEFAULTS: Final[Mapping[str, Decoding]] = {
    "cpu": Decoding("steps", look_ahead=4),
    # A call from Python costs a launch, a copy and a wait there.
    "cuda": Decoding("loop"),
}
"""What serves a device on which nothing was measured."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The decoding for each batch size on one device."""

    measured: Mapping[int, Decoding]
    """By batch size; empty when nothing was measured."""
    otherwise: Decoding

    def for_batch(self, rows: int) -> Decoding:
        """That of the largest measured batch of at most this size, or of the smallest one."""
        if not self.measured:
            return self.otherwise
        return self.measured[
            max((size for size in self.measured if size <= rows), default=min(self.measured))
        ]

    @property
    def forms(self) -> tuple[Form, ...]:
        """Those that some batch size needs."""
        needed = {decoding.form for decoding in self.measured.values()} or {self.otherwise.form}
        return tuple(form for form in FORMS if form in needed)


def choose(record: Mapping[str, Mapping[str, Decoding]], device: str, has: Collection[Form]) -> Choice:
    """The choice for a device.

    Args:
        record: device -> batch size -> decoding, as a bundle's manifest has it.
        has: forms whose graphs the bundle has; a measured form that is not among them is passed over.

    Raises:
        ValueError: a batch size in the record is no positive number, or the model has no form at all.
    """
    if not has:
        raise ValueError("there is no transducer graph")
    preferred = DEFAULTS[device]
    otherwise = preferred if preferred.form in has else Decoding(next(form for form in FORMS if form in has))
    measured = {_size(size): decoding for size, decoding in record.get(device, {}).items()}
    return Choice({size: d for size, d in sorted(measured.items()) if d.form in has}, otherwise)


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"decoding has a batch size {text!r}: it must be a number from 1")
    return int(text)
