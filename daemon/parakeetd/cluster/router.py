"""Which replica gets a stream. Serve runs this in its proxies, as the deployment asks it to."""

from __future__ import annotations

import random
from typing import Any, Final

from ray.serve.request_router import FIFOMixin, RequestRouter

CANDIDATES: Final = 8
"""Of whom Serve takes the one with the fewest streams. It asks each that it has not heard of for ten seconds."""


class FewestStreams(FIFOMixin, RequestRouter):  # type: ignore[misc]  # Ray has no types here
    """A stream stays where it begins, for minutes or hours: it is worth a look at several replicas, on any machine.

    Serve's own router takes one of two, and first of all one on the proxy's machine, until that is full.
    """

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: object = None
    ) -> list[list[Any]]:
        """One round of candidates; none where there are no replicas."""
        if not candidate_replicas:
            return []
        return [random.sample(candidate_replicas, min(CANDIDATES, len(candidate_replicas)))]
