"""What the environment says of this process. Beside `paths`, nothing else reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from parakeetd.keyboard.choice import Session
from parakeetd.paths import absolute

MOVING: Final = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "PARAKEETD_MODELS")
"""Variables that move what `Paths` finds, beside `HOME` and what a login sets itself."""


def moving_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Those that are set."""
    env = os.environ if environment is None else environment
    return {name: env[name] for name in MOVING if env.get(name)}


def session_bus(environment: Mapping[str, str] | None = None) -> str | None:
    """Address of the session's D-Bus; None where there is no session."""
    env = os.environ if environment is None else environment
    if address := env.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    runtime = absolute(env.get("XDG_RUNTIME_DIR"))
    return f"unix:path={runtime}/bus" if runtime and (runtime / "bus").exists() else None


def desktop_session(environment: Mapping[str, str] | None = None) -> Session:
    """What kind of desktop this process belongs to."""
    env = os.environ if environment is None else environment
    return Session(wayland=bool(env.get("WAYLAND_DISPLAY")), x11=bool(env.get("DISPLAY")))


def watchdog_seconds(environment: Mapping[str, str] | None = None) -> float | None:
    """How often systemd expects a sign of life of this process; None when it does not (sd_watchdog_enabled(3))."""
    env = os.environ if environment is None else environment
    microseconds, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not microseconds.isascii() or not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6 if pid in ("", str(os.getpid())) else None
