"""How a long piece of work shows that it is under way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

Step = Callable[[str], AbstractContextManager[object]]
"""Announces a step by its title and shows that it is under way until the block ends."""


def steps_on_stderr() -> Step:
    """Steps for a person: a spinner on a terminal, and a line with the time of each that is done."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)

    @contextlib.contextmanager
    def step(title: str) -> Iterator[None]:
        started = time.monotonic()
        with console.status(f"{title} ..."):
            yield
        console.print(f"{title}: {time.monotonic() - started:.1f} s")

    return step
