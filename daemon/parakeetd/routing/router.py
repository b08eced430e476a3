"""Sends each segment to a device and sees that it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass

from parakeetd.audio import Samples
from parakeetd.errors import Closed, DeviceError, Overloaded
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.routing.policy import DEFAULT_THRESHOLD_SECONDS, DeviceState, choose
from parakeetd.routing.worker import DEFAULT_DECODING, RETRY_SECONDS, Engine, Job, Routed, Worker


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A device as `status` and logs show it."""

    device: Device
    healthy: bool
    queued: int
    failure: str | None


class Router:
    """Owns one worker per device. Thread-safe."""

    def __init__(
        self,
        engines: Mapping[Device, Callable[[], Engine]],
        *,
        threshold_seconds: float = DEFAULT_THRESHOLD_SECONDS,
        max_queued: int = 256,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """
        Args:
            engines: how to open the engine of each device; opened on the device's first segment, or by `open`.
            threshold_seconds: segments from this length go to the GPU.
            max_queued: segments that may wait, over all devices.
            retry_seconds: how long a failed device is left alone.
        """
        if not engines:
            raise ValueError("a router needs at least one device")
        self._threshold_seconds = threshold_seconds
        self._max_queued = max_queued
        self._closed = False
        self._lock = threading.Lock()
        self._unanswered: set[Future[Routed]] = set()
        self._workers = {
            device: Worker(device, open_engine, self._hand_over, retry_seconds=retry_seconds)
            for device, open_engine in engines.items()
        }

    def open(self, device: Device) -> None:
        """Open a device's engine now, so that no segment waits for it.

        Raises:
            DeviceError, BundleError: it cannot be opened.
        """
        self._workers[device].open_now()

    def submit(
        self, samples: Samples, *, final: bool = True, decode: DecodeOptions | None = None
    ) -> Future[Routed]:
        """Queue a segment of 16 kHz mono samples.

        The future answers with the transcript, or raises AudioError or DecoderError when what was asked for is at fault
        and DeviceError when every device failed on it. Cancelling it spares the work if that has not begun.

        Raises:
            Overloaded: too many segments wait.
            Closed: the router is closing.
        """
        job = Job(samples, final, decode or DEFAULT_DECODING)
        with self._lock:
            if self._closed:
                raise Closed("the daemon is shutting down and takes no new segments")
            waiting = sum(worker.queued for worker in self._workers.values())
            if waiting >= self._max_queued:
                raise Overloaded(
                    f"{waiting} segments are waiting, the limit is {self._max_queued}; try again later"
                )
            self._unanswered.add(job.future)
            job.future.add_done_callback(self._unanswered.discard)
        self._dispatch(job, None)
        return job.future

    def devices(self) -> list[DeviceReport]:
        now = time.monotonic()
        return [
            DeviceReport(worker.device, worker.healthy(now), worker.queued, worker.failure)
            for worker in self._workers.values()
        ]

    def close(self, timeout: float) -> bool:
        """Answer what was submitted, then end the workers. False when that took longer than `timeout` seconds."""
        with self._lock:
            self._closed = True
            unanswered = set(self._unanswered)
        deadline = time.monotonic() + timeout
        # A worker may still hand a segment to another, so none is closed while a segment is on its way.
        late = wait(unanswered, timeout).not_done
        for future in late:
            future.cancel()
        for worker in self._workers.values():
            worker.close()
        ended = [worker.join(max(0.0, deadline - time.monotonic())) for worker in self._workers.values()]
        return not late and all(ended)

    def _dispatch(self, job: Job, failed: Exception | None) -> None:
        now = time.monotonic()
        states = [DeviceState(device, worker.healthy(now)) for device, worker in self._workers.items()]
        device = choose(job.seconds, states, threshold_seconds=self._threshold_seconds, tried=job.tried)
        if device is None:
            tried = ", ".join(sorted(job.tried))
            error = DeviceError(tried, f"failed on a segment of {job.seconds:.1f} s: {failed}")
            error.__cause__ = failed
            job.future.set_exception(error)
            return
        self._workers[device].put(job)

    def _hand_over(self, job: Job, device: Device, error: Exception) -> None:
        job.tried.add(device)
        self._dispatch(job, error)
