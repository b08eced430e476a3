"""Opens a model's devices: which there are, and the router over them. Shared by the daemon and the Python API."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from parakeetd.config import DeviceSettings
from parakeetd.errors import DeviceError
from parakeetd.model.bundle import Bundle
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, probe
from parakeetd.routing import Engine, Router

log = logging.getLogger(__name__)


def open_router(bundle: Bundle, settings: DeviceSettings, *, max_queued: int) -> Router:
    """A router with the bundle's model open on the device that `settings` ask for.

    The other device, if there is one, is opened when the first segment goes to it.

    Raises:
        BundleError: the bundle cannot be used.
        DeviceError: `cuda` was asked for and cannot be had.
    """
    precision = None if settings.precision == "auto" else settings.precision
    # Said now, not when the first segment comes to a device that is opened later.
    bundle.precision_for("cpu", precision)
    engines: dict[Device, Callable[[], Engine]] = {
        "cpu": partial(Recognizer.open, bundle, device="cpu", threads=settings.threads, precision=precision)
    }
    threshold = settings.threshold_seconds
    if settings.choice != "cpu":
        try:
            probe("cuda")
        except DeviceError as error:
            if settings.choice == "cuda":
                raise
            log.info("no GPU is used: %s", error.reason)
        else:
            engines["cuda"] = partial(Recognizer.open, bundle, device="cuda", precision=precision)
            threshold = 0.0 if settings.choice == "cuda" else threshold
    router = Router(engines, threshold_seconds=threshold, max_queued=max_queued)
    router.open("cuda" if settings.choice == "cuda" else "cpu")
    return router
