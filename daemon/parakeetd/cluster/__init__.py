"""The same service on a Ray cluster: Ray Serve starts replicas, finds them places and brings streams to them.

Nothing outside this room imports Ray, and only `remote`, `replica`, `router` and `counts` do inside it.
"""

from __future__ import annotations

import importlib.metadata
from typing import Final

from parakeetd.errors import SetupError

OLDEST_RAY: Final = (2, 55)
"""The first that brings a stream in both directions through its proxy."""


def require_ray() -> str:
    """The version of Ray that is installed.

    Raises:
        SetupError: none is, or one that is too old.
    """
    oldest = ".".join(map(str, OLDEST_RAY))
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise SetupError(
            f"a cluster needs Ray {oldest} or newer, which is not installed: pip install 'parakeetd[cluster]'"
        ) from None
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_RAY:
        raise SetupError(
            f"a cluster needs Ray {oldest} or newer, not {version}: pip install 'parakeetd[cluster]'"
        )
    return version
