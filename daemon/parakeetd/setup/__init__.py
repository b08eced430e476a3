"""Installs parakeetd as a service of systemd, for a user or for the machine, and takes it away again."""

from parakeetd.setup.places import Places, system_places, user_places
from parakeetd.setup.service import Wishes, install, uninstall

__all__ = ["Places", "Wishes", "install", "system_places", "uninstall", "user_places"]
