"""Where things are on this machine: what commands need that only speak to a daemon, without the settings' rooms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are on this machine, by the XDG base-directory rules."""

    config_file: Path
    models: Path
    calibration: Path
    """Folder of what was measured on this machine, a file for each model."""
    socket: Path | None
    """None without `$XDG_RUNTIME_DIR`: no other folder is private to the user and cleaned at logout."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Paths:
        env = os.environ if environment is None else environment
        home = Path(env.get("HOME") or Path.home())
        config = absolute(env.get("XDG_CONFIG_HOME")) or home / ".config"
        data = absolute(env.get("XDG_DATA_HOME")) or home / ".local/share"
        state = absolute(env.get("XDG_STATE_HOME")) or home / ".local/state"
        runtime = absolute(env.get("XDG_RUNTIME_DIR"))
        return cls(
            config_file=config / "parakeetd/config.toml",
            models=Path(env.get("PARAKEETD_MODELS") or data / "parakeetd/models"),
            calibration=state / "parakeetd/calibration",
            socket=runtime / "parakeetd/parakeetd.sock" if runtime else None,
        )

    @property
    def default_listen(self) -> tuple[str, ...]:
        return ("127.0.0.1:50051", *([f"unix:{self.socket}"] if self.socket else []))


def absolute(text: str | None) -> Path | None:
    """The folder in an XDG variable; by their rules one that is not absolute counts as not set."""
    return Path(text) if text and Path(text).is_absolute() else None
