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

from parakeetd.audio import Samples
from parakeetd.errors import AudioError, DecoderError, ParakeetError
from parakeetd.measure.timing import Cell, MemoryGuard, Plan, Stopped, Timed, measure
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Transcript
from parakeetd.routing import Engine
from parakeetd.routing.calibration import Point

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
    """A device's engine, used by its worker and, when nothing happens, measured."""

    def __init__(self, open_engine: Callable[[], Engine], activity: Activity) -> None:
        self._open_engine = open_engine
        self._activity = activity
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def open(self) -> SharedEngine:
        """Open the engine; one that is open and has not failed is kept.

        Raises:
            DeviceError, BundleError: it cannot be opened.
        """
        with self._activity, self._lock:
            self._opened()
        return self

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        with self._activity, self._lock:
            return self._run(audio, options)

    def measured(self) -> Engine:
        """The same engine, for who waits until nothing else happens."""
        return _Quiet(self)

    def run_quietly(self, audio: Sequence[Samples], options: Sequence[DecodeOptions]) -> list[Transcript]:
        """As `recognize`, without counting as work for somebody."""
        with self._lock:
            return self._run(audio, options)

    def _opened(self) -> Engine:
        if self._engine is None:
            self._engine = self._open_engine()
        return self._engine

    def _run(self, audio: Sequence[Samples], options: Sequence[DecodeOptions]) -> list[Transcript]:
        engine = self._opened()
        try:
            return engine.recognize(audio, options)
        except (AudioError, DecoderError):
            raise
        except Exception:
            # It is not to be trusted any more.
            self._engine = None
            raise


class _Quiet:
    def __init__(self, shared: SharedEngine) -> None:
        self._shared = shared

    def recognize(self, audio: Sequence[Samples], options: Sequence[DecodeOptions], /) -> list[Transcript]:
        return self._shared.run_quietly(audio, options)


class BackgroundMeasuring:
    """A thread that measures devices once, when there is time."""

    def __init__(
        self,
        engines: Mapping[Device, SharedEngine],
        activity: Activity,
        use: Callable[[tuple[Point, ...]], None],
        *,
        plan: Plan = BACKGROUND,
    ) -> None:
        """
        Args:
            use: takes what was measured; called in the thread.
        """
        self._engines = engines
        self._activity = activity
        self._use = use
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
        timed = Timed({device: engine.measured() for device, engine in self._engines.items()})
        fits = MemoryGuard()

        def run(cell: Cell) -> float:
            self._activity.wait_for_quiet()
            return timed(cell)

        try:
            # The devices that nobody has needed yet are opened here, not in the middle of a measurement.
            for engine in self._engines.values():
                self._activity.wait_for_quiet()
                engine.open()
            self._use(measure(run, list(self._engines), self._plan, fits=fits))
        except Stopped:
            log.debug("measuring was not finished; it begins anew at the next start")
        except ParakeetError as error:
            log.warning("the devices could not be measured: %s", error)
        except Exception:
            log.exception("the devices could not be measured")
