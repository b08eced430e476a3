"""The configuration file and the environment, read into frozen settings. Beside `paths`, nothing else reads the
environment.
"""

from __future__ import annotations

from parakeetd.config.environment import (
    MOVING,
    desktop_session,
    moving_variables,
    session_bus,
    watchdog_seconds,
)
from parakeetd.config.file import read_config
from parakeetd.config.settings import (
    AdapterSettings,
    ClusterSettings,
    Config,
    DeviceChoice,
    DeviceSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    MicrophoneSettings,
    ModelSettings,
    PrecisionChoice,
    ServerSettings,
    TextSettings,
    TlsSettings,
    VadSettings,
    default_model,
)
from parakeetd.paths import Paths

__all__ = [
    "MOVING",
    "AdapterSettings",
    "ClusterSettings",
    "Config",
    "DeviceChoice",
    "DeviceSettings",
    "LimitSettings",
    "LogSettings",
    "MetricsSettings",
    "MicrophoneSettings",
    "ModelSettings",
    "Paths",
    "PrecisionChoice",
    "ServerSettings",
    "TextSettings",
    "TlsSettings",
    "VadSettings",
    "default_model",
    "desktop_session",
    "moving_variables",
    "read_config",
    "session_bus",
    "watchdog_seconds",
]
