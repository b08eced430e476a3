"""The forms a model's transducer decoder comes in, and which of them serves a device and batch size.

Which is fastest depends on the machine and the model: convert measures and writes down what it found, and `parakeetd
calibrate` does so for the machine that it runs on.
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


DEFAULTS: Final[Mapping[str, Mapping[int, Decoding]]] = {
    # Up to four rows read the joint's weights in the time of one; beyond, each costs its own products.
    "cpu": {1: Decoding("steps", 4), 3: Decoding("steps", 2), 6: Decoding("steps", 1)},
    # A call from Python costs a launch, a copy and a wait there.
    "cuda": {1: Decoding("loop")},
}
"""What serves a device on which nothing was measured, by the least batch size."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The decoding for each batch size on one device."""

    by_batch: Mapping[int, Decoding]
    """By the number of rows, of one size at least."""

    def for_batch(self, rows: int) -> Decoding:
        """That of the largest size up to this one, or of the smallest."""
        return self.by_batch[
            max((size for size in self.by_batch if size <= rows), default=min(self.by_batch))
        ]

    @property
    def forms(self) -> tuple[Form, ...]:
        """Those that some batch size needs."""
        needed = {decoding.form for decoding in self.by_batch.values()}
        return tuple(form for form in FORMS if form in needed)


def usual(device: str, rows: int) -> Decoding:
    """What serves a batch size on a device on which nothing was measured."""
    return Choice(DEFAULTS[device]).for_batch(rows)


def check_record(device: str, record: Mapping[str, Decoding]) -> None:
    """
    Raises:
        ValueError: a size or look-ahead is no positive number, or a form is none.
    """
    for size, decoding in record.items():
        if not size.isdecimal() or int(size) < 1 or decoding.look_ahead < 1:
            raise ValueError(
                f"decoding.{device}: a batch of {size!r} with a look-ahead of {decoding.look_ahead}: both count from 1"
            )
        if decoding.form not in FORMS:
            raise ValueError(f"decoding.{device}: {decoding.form!r} is no form of the decoder")


def choose(record: Mapping[str, Mapping[str, Decoding]], device: str, has: Collection[Form]) -> Choice:
    """The choice for a device: what was measured there, or else `DEFAULTS`, or else a form that the model has.

    Args:
        record: device -> batch size -> decoding, as a bundle's manifest has it.
        has: forms whose graphs the bundle has; others are passed over.

    Raises:
        ValueError: the record has a size or look-ahead that is no positive number, or the model has no form at all.
    """
    if not has:
        raise ValueError("there is no transducer graph")
    check_record(device, record.get(device, {}))
    measured = {int(size): decoding for size, decoding in record.get(device, {}).items()}
    for by_batch in (measured, DEFAULTS[device]):
        if possible := {size: by_batch[size] for size in sorted(by_batch) if by_batch[size].form in has}:
            return Choice(possible)
    return Choice({1: Decoding(next(form for form in FORMS if form in has))})
