"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    subject: str
    state: Literal["ok", "note", "problem"]
    """`note` is worth knowing and stops nothing."""
    finding: str
