"""A thread that owns one device's engine and computes what it is told to."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError, DecoderError, PhraseError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing.batcher import Piece
from parakeetd.routing.home import Engine, Home
from parakeetd.routing.schedule import Step

log = logging.getLogger(__name__)

DEFAULT_DECODING = DecodeOptions()


@dataclass(frozen=True, slots=True)
class Routed:
    """A segment's answer and how it came about."""

    transcript: Transcript
    device: Device
    queued_seconds: float
    compute_seconds: float
    batch: int = 1
    """Segments that were computed together with it, itself included."""


@dataclass(slots=True, eq=False)
class Job(Piece):
    """A segment on its way through the devices."""

    samples: Samples = field(kw_only=True)
    decode: DecodeOptions = DEFAULT_DECODING
    future: Future[Routed] = field(default_factory=Future)
    begun: bool = False

    @property
    def gone(self) -> bool:
        """It is cancelled, or answered."""
        return self.future.done()

    def begin(self) -> bool:
        """Claim the job for computing; False when nobody waits for it any more."""
        if not self.begun:
            self.begun = self.future.set_running_or_notify_cancel()
        return not self.gone

    def answer(self, routed: Routed) -> None:
        # A device that was given up may answer after all, when another has answered already.
        with suppress(InvalidStateError):
            self.future.set_result(routed)

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):
            if self.begin():
                self.future.set_exception(error)


class Desk(Protocol):
    """Where a worker gets its work and reports it: `parakeetd.routing.router.Router`."""

    def next_step(self, device: Device) -> Step[Job] | None:
        """What to do; waits until there is something. None to end."""
        ...

    def opened(self, device: Device) -> None: ...

    def left(self, device: Device) -> None:
        """Nothing is left of its engine."""
        ...

    def finished(self, device: Device, *, measures: bool) -> None: ...

    def too_large(self, device: Device) -> None: ...

    def failed(self, device: Device, error: Exception) -> None: ...


class Worker:
    """Does one thing at a time: opens the engine, computes a batch, closes the engine."""

    def __init__(self, device: Device, home: Home, desk: Desk) -> None:
        self.device = device
        self.home = home
        self._desk = desk
        self._engine: Engine | None = None
        self._thread = threading.Thread(target=self._work, name=f"parakeetd-{device}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """True when the thread ended within `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (step := self._desk.next_step(self.device)) is not None:
            try:
                if step.opens:
                    self._engine = self.home.open()
                    self._desk.opened(self.device)
                elif step.closes:
                    self._leave()
                else:
                    whole = self._compute([job for job in step.batch if job.begin()])
                    self._desk.finished(self.device, measures=whole)
            except Exception as error:
                if len(step.batch) > 1 and _out_of_memory(error):
                    self._desk.too_large(self.device)
                    continue
                # Whatever it was, this engine is not to be trusted: a new one is opened at the next try. Its segments
                # go to another device before the rest of it is cleared away.
                self.home.kill("it had failed")
                self._desk.failed(self.device, error)
                self._leave()
        self._leave()

    def _leave(self) -> None:
        self._engine = None
        try:
            self.home.close()
        except Exception:
            log.exception("the engine of device %s could not be closed", self.device)
        self._desk.left(self.device)

    def _compute(self, jobs: list[Job]) -> bool:
        """Answer these jobs. Audio or options at fault belong to one of them: halves are computed until it is found.

        Returns:
            Whether all were computed, in one run.

        Raises:
            Exception: what the engine raised. Jobs may be left without an answer.
        """
        if not jobs:
            return False
        if self._engine is None:
            raise RuntimeError("a batch came before the engine was opened")
        begun = time.monotonic()
        try:
            transcripts = self._engine.recognize([job.samples for job in jobs], [job.decode for job in jobs])
        except (AudioError, DecoderError, PhraseError) as error:
            if len(jobs) == 1:
                jobs[0].fail(error)
            else:
                middle = len(jobs) // 2
                self._compute(jobs[:middle])
                self._compute(jobs[middle:])
            return False
        ended = time.monotonic()
        for job, transcript in zip(jobs, transcripts, strict=True):
            job.answer(Routed(transcript, self.device, begun - job.submitted, ended - begun, batch=len(jobs)))
        return True


def _out_of_memory(error: Exception) -> bool:
    # ONNX Runtime has no type for it: its arena, CUDA and cuBLAS say it in these words.
    said = ("allocate memory", "smaller than requested bytes", "out of memory", "ALLOC_FAILED", "bad_alloc")
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


def job_of(samples: Samples, *, final: bool, decode: DecodeOptions | None, stream: object | None) -> Job:
    """A new job for a segment of 16 kHz mono samples."""
    return Job(
        len(samples) / SAMPLE_RATE,
        final,
        time.monotonic(),
        stream,
        samples=samples,
        decode=decode or DEFAULT_DECODING,
    )
