"""Sends each segment to a device and sees that it is answered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass

from parakeetd.audio import Samples
from parakeetd.errors import Closed, DeviceError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.routing.batcher import BatchLimits
from parakeetd.routing.engine_record import EngineState
from parakeetd.routing.home import Opener, has_died, home_of
from parakeetd.routing.policy import DEFAULT_LIMITS, Estimate
from parakeetd.routing.progress import Progress
from parakeetd.routing.schedule import RETRY_SECONDS, Dropped, Schedule, Step
from parakeetd.routing.worker import Job, Routed, Worker, job_of

log = logging.getLogger(__name__)


KILLED_SECONDS = 1.0
"""A process that was killed is gone by then."""


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A device as `status`, metrics and logs show it."""

    device: Device
    healthy: bool
    running: int
    """Segments that it computes now."""
    failure: str | None
    ratio: float
    """How long its runs took of late, over what was predicted."""
    engine: EngineState = "closed"
    openings: int = 0
    """How often its engine was opened since the daemon began."""
    failures: int = 0
    """How often it failed, hung or could not be opened; the engine was replaced, or will be when it is needed."""
    pid: int | None = None
    """The process of its own that the engine lives in."""
    memory_bytes: int | None = None
    """Memory that it holds on its device; None when that is not known."""


class Router:
    """Owns one worker per device. Thread-safe."""

    def __init__(
        self,
        engines: Mapping[Device, Opener],
        *,
        estimate: Estimate | None = None,
        threshold_seconds: float | None = None,
        limits: Mapping[Device, BatchLimits] = DEFAULT_LIMITS,
        max_queued: int = 256,
        retry_seconds: float = RETRY_SECONDS,
        idle_seconds: Mapping[Device, float] | None = None,
    ) -> None:
        """
        Args:
            engines: how to open the engine of each device; opened when it would be of use, or by `open` or `wake`.
            estimate: predicted seconds on this machine; `policy.default_estimate` when it has not been measured.
            threshold_seconds: not the earliest predicted finish but the length decides: from here on segments go to the
                GPU, shorter ones to the CPU.
            limits: what a device computes at once, as long as its memory suffices for that.
            max_queued: segments that may wait, over all devices.
            retry_seconds: how long a failed device is left alone.
            idle_seconds: how long an engine that is not used stays open; forever where there is none.
        """
        if not engines:
            raise ValueError("a router needs at least one device")
        self._schedule: Schedule[Job] = Schedule(
            engines,
            estimate,
            threshold_seconds=threshold_seconds,
            limits=limits,
            max_queued=max_queued,
            retry_seconds=retry_seconds,
            idle_seconds=idle_seconds,
        )
        self._changed = threading.Condition()
        """Guards the schedule; notified when a device may have something new to do."""
        self._closed = False
        self._ending = False
        self._unanswered: set[Future[Routed]] = set()
        self._moved = time.monotonic()
        """When an engine last did something, or when there was something to do again."""
        self._present: set[Device] = set()
        """Devices whose engine is there, whole or in part."""
        self._asked: dict[Device, Future[None]] = {}
        """Who asked for an engine to be opened hears of it here."""
        self._workers = {device: Worker(device, home_of(opener), self) for device, opener in engines.items()}
        for worker in self._workers.values():
            worker.start()

    def open(self, device: Device) -> None:
        """Have a device's engine open, so that no segment waits for it.

        Raises:
            DeviceError, BundleError: it cannot be opened.
            Closed: the router is closing.
        """
        with self._changed:
            if self._closed:
                raise Closed("the daemon is shutting down and opens no engine")
            self._schedule.want(device, time.monotonic())
            state = self._schedule.engine(device)
            if state == "open":
                return
            if state == "suspended":
                raise DeviceError(device, "it is suspended, as before the machine sleeps")
            opened = self._asked.setdefault(device, Future())
            self._changed.notify_all()
        opened.result()

    def wake(self) -> None:
        """Somebody is about to speak: open what has left for want of work, or has died of it. Returns at once."""
        now, died = time.monotonic(), False
        with self._changed:
            for device, worker in self._workers.items():
                # Nobody waits for the answer of an engine that has nothing to do, and so would hear of its end.
                if has_died(worker.home) and self._schedule.idles(device):
                    log.error("device %s: its process has ended while it had nothing to do", device)
                    self._schedule.failed(device, now, "its process has ended")
                    self._present.discard(device)
                    died = True
            # Each stream comes by here: threads are woken only where there is something to do.
            if self._schedule.wake(now) or died:
                self._changed.notify_all()

    def suspend(self, device: Device, timeout: float) -> bool:
        """Have a device's engine leave with all its memory, and stay away until `resume`. Others do its work.

        A batch that it computes is answered first, or, where that takes longer than `timeout` seconds and the engine
        lives in a process of its own, computed by another device.

        Returns:
            False when it is still there.
        """
        if device not in self._workers:
            return True
        with self._changed:
            self._schedule.suspend(device)
            self._changed.notify_all()
            if self._changed.wait_for(lambda: device not in self._present, timeout):
                return True
        if not self._workers[device].home.kill("the machine is about to sleep"):
            return False
        with self._changed:
            return self._changed.wait_for(lambda: device not in self._present, KILLED_SECONDS)

    def resume(self, device: Device) -> None:
        """The device may be used again. Its engine is opened when it would be of use; `open` does so now."""
        if device not in self._workers:
            return
        with self._changed:
            self._schedule.resume(device)
            self._changed.notify_all()

    def use_estimate(self, estimate: Estimate) -> None:
        """From now on predict by this, as after the machine has been measured."""
        with self._changed:
            self._schedule.use_estimate(estimate)
            self._changed.notify_all()

    def make_room(self, max_queued: int) -> None:
        """From now on so many segments may wait."""
        with self._changed:
            self._schedule.max_queued = max_queued

    def submit(
        self,
        samples: Samples,
        *,
        final: bool = True,
        decode: DecodeOptions | None = None,
        stream: object | None = None,
    ) -> Future[Routed]:
        """Queue a segment of 16 kHz mono samples.

        The future answers with the transcript, or raises AudioError or DecoderError when what was asked for is at fault
        and DeviceError when every device failed on it. That of an interim raises Dropped when it was not worth
        computing. Cancelling it spares the work if that has not begun; `running()` tells.

        Args:
            stream: whose it is, anything hashable; an interim takes the place of an older one of its stream that waits.

        Raises:
            Overloaded: too many segments wait.
            Closed: the router is closing.
        """
        job = job_of(samples, final=final, decode=decode, stream=stream)
        with self._changed:
            if self._closed:
                raise Closed("the daemon is shutting down and takes no new segments")
            self._schedule.add(job, job.submitted)
            if not self._unanswered:
                self._moved = job.submitted
            self._unanswered.add(job.future)
            job.future.add_done_callback(self._unanswered.discard)
            self._changed.notify_all()
            answers = self._not_to_compute()
        _answer(answers)
        return job.future

    @property
    def queued(self) -> int:
        """Segments that wait for a device."""
        with self._changed:
            return len(self._schedule.waiting)

    def devices(self) -> list[DeviceReport]:
        now = time.monotonic()
        with self._changed:
            return [
                DeviceReport(
                    device,
                    self._schedule.healthy(device, now),
                    self._schedule.running(device),
                    self._schedule.failure(device),
                    self._schedule.ratio(device, now),
                    self._schedule.engine(device),
                    self._schedule.openings(device),
                    self._schedule.failures(device),
                    worker.home.pid,
                    worker.home.memory_bytes,
                )
                for device, worker in self._workers.items()
            ]

    def progress(self) -> Progress:
        """Whether the work moves, for a watchdog."""
        now = time.monotonic()
        with self._changed:
            return Progress(len(self._unanswered), now - self._moved, self._schedule.patience())

    def close(self, timeout: float) -> bool:
        """Answer what was submitted, then end the workers. False when that took longer than `timeout` seconds."""
        with self._changed:
            self._closed = True
            unanswered = set(self._unanswered)
        deadline = time.monotonic() + timeout
        # A worker may still hand a segment to another, so none is ended while a segment is on its way.
        late = wait(unanswered, timeout).not_done
        for future in late:
            future.cancel()
        with self._changed:
            self._ending = True
            asked, self._asked = list(self._asked.values()), {}
            self._changed.notify_all()
        for opened in asked:
            opened.set_exception(Closed("the daemon is shutting down"))
        ended = [
            worker.join(max(0.0, deadline - time.monotonic()))
            or (worker.home.kill("the daemon is shutting down") and worker.join(KILLED_SECONDS))
            for worker in self._workers.values()
        ]
        return not late and all(ended)

    # What follows is for the workers.

    def next_step(self, device: Device) -> Step[Job] | None:
        while True:
            with self._changed:
                if self._ending:
                    return None
                step = self._schedule.step(device, time.monotonic())
                answers, hung = self._not_to_compute(), self._hung()
                acts = bool(step.opens or step.closes or step.batch)
                if step.opens:
                    self._present.add(device)
                if acts:
                    # Others look again: when they have to can depend on what has begun here.
                    self._changed.notify_all()
                elif not answers and not hung:
                    self._changed.wait(step.wait_seconds)
            _answer(answers)
            for other, why in hung:
                if self._workers[other].home.kill(why):
                    log.warning("device %s hung: %s; it is replaced", other, why)
            if acts:
                return step

    def opened(self, device: Device) -> None:
        with self._changed:
            self._moved = time.monotonic()
            self._schedule.opened(device, time.monotonic())
            asked = self._asked.pop(device, None)
            self._changed.notify_all()
        if asked is not None:
            asked.set_result(None)

    def left(self, device: Device) -> None:
        with self._changed:
            self._present.discard(device)
            self._schedule.closed(device)
            self._changed.notify_all()

    def finished(self, device: Device, *, measures: bool) -> None:
        with self._changed:
            self._moved = time.monotonic()
            self._schedule.finished(device, time.monotonic(), measures=measures)
            self._changed.notify_all()

    def too_large(self, device: Device) -> None:
        with self._changed:
            log.warning("device %s has no memory for a batch of %d", device, self._schedule.running(device))
            self._moved = time.monotonic()
            self._schedule.too_large(device)
            self._changed.notify_all()

    def failed(self, device: Device, error: Exception) -> None:
        reason = _in_one_line(error)
        with self._changed:
            self._moved = time.monotonic()
            self._schedule.failed(device, time.monotonic(), reason)
            answers = self._not_to_compute()
            asked = self._asked.pop(device, None)
            self._changed.notify_all()
        _answer(answers)
        if asked is not None:
            # Whoever asked for it is told, and says so.
            asked.set_exception(error)
        else:
            log.error("device %s failed, %s", device, reason)

    def _hung(self) -> list[tuple[Device, str]]:
        """Devices whose run the schedule has given up. They are killed without the lock."""
        hung = list(self._schedule.hung)
        self._schedule.hung.clear()
        return hung

    def _not_to_compute(self) -> list[tuple[Job, Exception]]:
        """Jobs that the schedule has given up, with their answers. These are given without the lock: what waits for a
        future may call the router."""
        schedule = self._schedule
        answers: list[tuple[Job, Exception]] = [(job, Dropped(why)) for job, why in schedule.dropped]
        for job, reason in schedule.hopeless:
            tried = ", ".join(sorted(job.tried))
            error = DeviceError(tried, f"failed on a segment of {job.seconds:.1f} s: {reason}")
            answers.append((job, error))
        schedule.dropped.clear()
        schedule.hopeless.clear()
        return answers


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _answer(answers: list[tuple[Job, Exception]]) -> None:
    for job, error in answers:
        job.fail(error)
