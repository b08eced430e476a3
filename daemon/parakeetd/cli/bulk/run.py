"""Has many files recognised elsewhere, a bounded number at a time, and writes each result once it is whole."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from parakeetd.cli.bulk.patience import Places, Tries, Verdict, judge, pause_seconds
from parakeetd.cli.bulk.plan import Item
from parakeetd.cli.output import FORMATS, write_atomically
from parakeetd.errors import CallFailed, InputError, ParakeetError
from parakeetd.library import Transcription
from parakeetd.rpc.offload import CallEnded, Offloaded, Wishes, default_model, offload
from parakeetd.rpc.reach import Reach

_log = logging.getLogger(__name__)

_FIRST_CALL_SECONDS: Final = 20.0

_NO_FILE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Why no other result could be written either."""


@dataclass(frozen=True, slots=True)
class Service:
    """What recognises."""

    addresses: Sequence[str]
    reach: Reach
    wishes: Wishes
    jobs: int
    """Recordings under way at once."""
    patience_seconds: float
    """A file is tried again for this long."""

    def model(self) -> str:
        """The model's name, from the first address that answers.

        Raises:
            CallEnded: none does.
        """
        for number, address in enumerate(self.addresses, start=1):
            try:
                found = default_model(address, self.reach, _FIRST_CALL_SECONDS)
            except CallEnded as error:
                if number == len(self.addresses):
                    raise
                _log.warning("%s", error)
            else:
                return self.wishes.model or found
        raise InputError("no address: name one with --cluster")


@dataclass(slots=True)
class Bulk:
    """One run over many files."""

    service: Service
    model: str
    form: str
    told: Callable[[int], None]
    """Told how many files are behind us, whenever one more is."""
    written: int = 0
    again: int = 0
    """Calls that were made once more."""
    failed: list[ParakeetError] = field(default_factory=list)
    ended: ParakeetError | None = None
    """Why the run ended before its files did."""
    _succeeded: float = float("-inf")

    async def over(self, items: Sequence[Item]) -> None:
        """All of them, or as many as can be. Cancelled, it leaves no part of a result behind."""
        places = Places(self.service.addresses)
        queue = iter(items)
        workers = [
            asyncio.create_task(self._work(queue, places)) for _ in range(min(self.service.jobs, len(items)))
        ]
        try:
            await asyncio.gather(*workers)
        except _End as end:
            self.ended = end.why
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, queue: Iterator[Item], places: Places) -> None:
        for item in queue:
            try:
                answered = await self._answered(item, places)
                await asyncio.to_thread(self._write, item, answered)
                self.written += 1
            except ParakeetError as error:
                _log.debug("%s failed", item.source, exc_info=True)
                self.failed.append(error)
                if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_FILE:
                    raise _End(error) from error
            self.told(self.written + len(self.failed))

    async def _answered(self, item: Item, places: Places) -> Offloaded:
        """A file's answer, from whichever address gives one.

        Raises:
            AudioError: it cannot be read.
            CallFailed: none does; the message names the file.
            _End: none will, whichever the file.
        """
        if not item.source.is_file():
            raise InputError(f"{item.source}: is no file, or one that has gone")
        tries = Tries()
        while True:
            number = places.take(time.monotonic())
            failed = False
            try:
                answered = await offload(
                    self.service.addresses[number], item.source, self.service.wishes, self.service.reach
                )
            except CallEnded as error:
                failed, now = True, time.monotonic()
                tries = Tries(tries.failures + 1, tries.since or now)
                verdict = judge(error.code, tries, now, self.service.patience_seconds, self._succeeded)
                _log.debug("%s: %s: %s", item.source, error, verdict.value)
                if verdict is Verdict.END:
                    raise _End(error) from error
                if verdict is Verdict.FAILED:
                    raise CallFailed(f"{item.source}: {error}") from error
            else:
                self._succeeded = time.monotonic()
                return answered
            finally:
                places.give_back(number, time.monotonic(), failed=failed)
            self.again += 1
            await asyncio.sleep(pause_seconds(tries.failures, random.random()))

    def _write(self, item: Item, answered: Offloaded) -> None:
        """
        Raises:
            InputError: it cannot be written.
        """
        transcription = Transcription(
            answered.segments,
            self.model,
            answered.audio_seconds,
            answered.processing_seconds,
            answered.between,
        )
        text = FORMATS[self.form](str(item.source), transcription)
        try:
            item.target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {item.target.parent}: {error.strerror}") from error
        write_atomically(item.target, text)


class _End(Exception):
    """Raised where no other file would fare better."""

    def __init__(self, why: ParakeetError) -> None:
        super().__init__(str(why))
        self.why = why
