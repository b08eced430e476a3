"""Measures a machine while its daemon has nothing else to do.

The daemon's own engines are measured, so that no weights are held twice. Each run waits until nobody has spoken for
a while; a segment that comes meanwhile waits for one short run at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from parakeetd.audio import Samples
from parakeetd.errors import Closed, ParakeetError
from parakeetd.measure.timing import Cell, MemoryGuard, Plan, Stopped, Timed, measure
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing import Engine, Opener
from parakeetd.routing.calibration import Point
from parakeetd.routing.home import has_died, home_of

log = logging.getLogger(__name__)

QUIET_SECONDS = 3.0
"""Nothing has been recognised for this long: whoever spoke has paused, and interims come oftener."""

BACKGROUND = replace(Plan.within(10.0), favour=1.0)
"""Ten seconds of work, and half a second for one run."""


class Activity:
    """When engines were last at work for somebody. Thread-safe."""

    def __init__(
        self, quiet_seconds: float = QUIET_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._working = 0
        self._last = clock()
        self._stopped = False

    def __enter__(self) -> None:
        with self._changed:
            self._working += 1

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._working -= 1
            self._last = self._clock()
            self._changed.notify_all()

    def wait_for_quiet(self) -> None:
        """Return when nothing has been at work for a while.

        Raises:
            Stopped: there is no time left for that.
        """
        with self._changed:
            while not self._stopped:
                if self._working:
                    self._changed.wait()
                elif (left := self._last + self._quiet_seconds - self._clock()) > 0:
                    self._changed.wait(left)
                else:
                    return
            raise Stopped

    def stop(self) -> None:
        """Nobody waits for quiet any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class SharedEngine:
    """A device's engine, used by its worker and, when nothing happens, measured. For the worker it is home and engine
    in one."""

    def __init__(self, opener: Opener, activity: Activity) -> None:
        self._home = home_of(opener)
        self._activity = activity
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @property
    def is_open(self) -> bool:
        return self._engine is not None

    def open(self) -> SharedEngine:
        """Open the engine; one that is open is kept, unless its process has died.

        Raises:
            DeviceError, BundleError: it cannot be opened.
        """
        with self._activity, self._lock:
            if self._engine is None or has_died(self._home):
                self._engine = None
                self._engine = self._home.open()
        return self

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        with self._activity:
            return self.run_quietly(audio, options)

    def measured(self, open_engine: Callable[[], object]) -> Engine:
        """The same engine, for who waits until nothing else happens.

        Args:
            open_engine: opens this one where it is closed, so that its worker knows.
        """
        return _Quiet(self, open_engine)

    def run_quietly(self, audio: Sequence[Samples], options: Sequence[DecodeOptions]) -> list[Transcript]:
        """As `recognize`, without counting as work for somebody."""
        with self._lock:
            if self._engine is None:
                raise RuntimeError("a batch came before the engine was opened")
            return self._engine.recognize(audio, options)

    def close(self) -> None:
        with self._lock:
            self._engine = None
            self._home.close()

    def kill(self, reason: str) -> bool:
        # Without the lock: who hangs holds it.
        return self._home.kill(reason)

    @property
    def pid(self) -> int | None:
        return self._home.pid

    @property
    def memory_bytes(self) -> int | None:
        return self._home.memory_bytes


class _Quiet:
    def __init__(self, shared: SharedEngine, open_engine: Callable[[], object]) -> None:
        self._shared = shared
        self._open_engine = open_engine

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        if not self._shared.is_open:
            # It has left meanwhile.
            self._open_engine()
        return self._shared.run_quietly(audio, options)


class BackgroundMeasuring:
    """A thread that measures devices once, when there is time."""

    def __init__(
        self,
        engines: Mapping[Device, SharedEngine],
        activity: Activity,
        use: Callable[[tuple[Point, ...]], None],
        *,
        open_device: Callable[[Device], object] | None = None,
        plan: Plan = BACKGROUND,
    ) -> None:
        """
        Args:
            use: takes what was measured; called in the thread.
            open_device: opens one of them, as `Router.open` does; by itself when not given.
        """
        self._engines = engines
        self._activity = activity
        self._use = use
        self._open_device = open_device or (lambda device: engines[device].open())
        self._plan = plan
        self._thread = threading.Thread(target=self._work, name="parakeetd-measure", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Measure no further. True when the thread ended within `timeout` seconds."""
        self._activity.stop()
        return self.wait(timeout)

    def wait(self, timeout: float) -> bool:
        """True when the thread ended within `timeout` seconds, or never began."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        timed = Timed(
            {
                device: engine.measured(partial(self._open_device, device))
                for device, engine in self._engines.items()
            }
        )
        fits = MemoryGuard()

        def run(cell: Cell) -> float:
            self._activity.wait_for_quiet()
            return timed(cell)

        try:
            # The devices that nobody has needed yet are opened here, not in the middle of a measurement.
            for device in self._engines:
                self._activity.wait_for_quiet()
                self._open_device(device)
            self._use(measure(run, list(self._engines), self._plan, fits=fits))
        except (Stopped, Closed):
            log.debug("measuring was not finished; it begins anew at the next start")
        except ParakeetError as error:
            log.warning("the devices could not be measured: %s", error)
        except Exception:
            log.exception("the devices could not be measured")
