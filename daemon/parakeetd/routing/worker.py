"""A thread that owns one device's engine and works through a queue of segments."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError, DecoderError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""How long a device that failed is left alone before a segment is tried on it again."""

DEFAULT_DECODING = DecodeOptions()


class Engine(Protocol):
    """What recognises: `parakeetd.model.recognizer.Recognizer`, or a fake."""

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        """Transcripts of a batch of pieces of 16 kHz mono samples, in their order, each decoded by its options."""
        ...


@dataclass(frozen=True, slots=True)
class Routed:
    """A segment's answer and how it came about."""

    transcript: Transcript
    device: Device
    queued_seconds: float
    compute_seconds: float


@dataclass(slots=True, eq=False)
class Job:
    """A segment on its way through the devices."""

    samples: Samples
    final: bool
    decode: DecodeOptions = DEFAULT_DECODING
    future: Future[Routed] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    tried: set[Device] = field(default_factory=set)
    started: bool = False

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def start(self) -> bool:
        """Claim the job for running; False when its caller has cancelled it."""
        if not self.started:
            self.started = self.future.set_running_or_notify_cancel()
        return self.started


class Worker:
    """Runs jobs one at a time, finals before interims. The engine is opened in the thread, on the first job or
    when `open_now` is called."""

    def __init__(
        self,
        device: Device,
        open_engine: Callable[[], Engine],
        on_failure: Callable[[Job, Device, Exception], None],
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.device = device
        self._open_engine = open_engine
        self._on_failure = on_failure
        self._retry_seconds = retry_seconds
        self._engine: Engine | None = None
        self._finals: deque[Job] = deque()
        self._interims: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._failed_at: float | None = None
        self.failure: str | None = None
        """Why the device last failed, while it counts as unhealthy."""
        self._thread = threading.Thread(target=self._work, name=f"parakeetd-{device}", daemon=True)
        self._thread.start()

    def open_now(self) -> Worker:
        """Open the engine in the calling thread.

        Raises:
            DeviceError, BundleError: it cannot be opened.
        """
        self._engine = self._open_engine()
        return self

    def healthy(self, now: float) -> bool:
        """Whether the device is worth a segment at this `time.monotonic()`."""
        return self._failed_at is None or now - self._failed_at >= self._retry_seconds

    @property
    def queued(self) -> int:
        with self._changed:
            return len(self._finals) + len(self._interims)

    def put(self, job: Job) -> None:
        with self._changed:
            (self._finals if job.final else self._interims).append(job)
            self._changed.notify()

    def close(self) -> None:
        """Take no more time than the queue needs; `join` waits for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, timeout: float) -> bool:
        """True when the thread ended within `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _next(self) -> Job | None:
        with self._changed:
            while not (self._finals or self._interims or self._closing):
                self._changed.wait()
            if self._finals:
                return self._finals.popleft()
            return self._interims.popleft() if self._interims else None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if job.start():
                self._run(job)

    def _run(self, job: Job) -> None:
        begun = time.monotonic()
        try:
            if self._engine is None:
                self._engine = self._open_engine()
            [transcript] = self._engine.recognize([job.samples], [job.decode])
        except (AudioError, DecoderError) as error:
            job.future.set_exception(error)
        except Exception as error:
            # Whatever it was, this engine is not to be trusted: a new one is opened at the next try.
            self._engine = None
            self._failed_at = time.monotonic()
            self.failure = " ".join(f"{type(error).__name__}: {error}".split())
            log.error("device %s failed on a segment of %.1f s: %s", self.device, job.seconds, self.failure)
            self._on_failure(job, self.device, error)
        else:
            self._failed_at = self.failure = None
            ended = time.monotonic()
            job.future.set_result(Routed(transcript, self.device, begun - job.submitted, ended - begun))
