"""What is done once nobody has spoken for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

QUIET_SECONDS: Final = 5.0


class Quiet:
    """Does something each time when it has been quiet for so long. Belongs to one event loop."""

    def __init__(self, do: Callable[[], object], seconds: float = QUIET_SECONDS) -> None:
        """
        Args:
            do: called in a thread; new streams do not wait for it.
        """
        self._do = do
        self._seconds = seconds
        self._due: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """It is quiet from now on."""
        self.end()
        loop = asyncio.get_running_loop()
        self._due = loop.call_later(self._seconds, loop.run_in_executor, None, self._do)

    def end(self) -> None:
        """It is not, or never will be again."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
