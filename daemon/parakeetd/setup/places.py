"""Where a service has its files, and whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parakeetd.config import Paths

UNIT: Final = "parakeetd.service"

SYSTEM_ENVIRONMENT: Final = {
    "HOME": "/var/lib/parakeetd",
    "XDG_CONFIG_HOME": "/etc",
    "XDG_DATA_HOME": "/var/lib",
    "XDG_STATE_HOME": "/var/lib",
    "XDG_RUNTIME_DIR": "/run",
}
"""As the system unit sets it, so that `Paths` finds the machine's folders."""

CLIENTS: Final = "parakeetd-clients"
"""Members of this group may open the system service's socket."""

HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))
"""What the system unit hides from the daemon (ProtectHome=, PrivateTmp=)."""


@dataclass(frozen=True, slots=True)
class Places:
    """A service's files."""

    system: bool
    paths: Paths
    unit: Path
    """The unit file that an installation writes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What makes commands of this installation look in these places."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """Of that, what the unit file does not already have."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Everything that is the service's alone: its configuration, models and tables. Those that are shared with
        others, as the user may have arranged it, are left out."""
        own = (self.paths.config_file.parent, self.paths.models.parent, self.paths.calibration.parent)
        return tuple(dict.fromkeys(path for path in own if path.name == "parakeetd"))


def user_places(paths: Paths, moved: Mapping[str, str]) -> Places:
    """
    Args:
        paths: this user's.
        moved: the variables of this shell that move them; the service is told, as it does not have
            this shell's.
    """
    unit = paths.config_file.parent.parent / "systemd/user" / UNIT
    return Places(system=False, paths=paths, unit=unit, environment=moved, wanted=moved)


def system_places() -> Places:
    return Places(
        system=True,
        paths=Paths.from_environment(SYSTEM_ENVIRONMENT),
        unit=Path("/etc/systemd/system") / UNIT,
        environment=SYSTEM_ENVIRONMENT,
    )


def hidden(files: Iterable[Path]) -> Path | None:
    """The first of these that the system service would not see, followed over links; None when it sees all."""
    for file in files:
        for path in (file, file.resolve()):
            if any(path.is_relative_to(folder) for folder in HIDDEN):
                return path
    return None
