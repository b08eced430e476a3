"""Audio as the rest of the daemon sees it: float32 mono at 16 kHz, full scale 1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    """Mono samples at `SAMPLE_RATE`, shape [n], full scale 1.0."""

SAMPLE_RATE = 16_000
"""Hz. Every model of the catalog and both voice-activity detectors take this rate."""

__all__ = ["SAMPLE_RATE", "Samples"]


def __getattr__(name: str) -> Any:
    # Made when first used: a level or a state is shown without numpy, which takes a tenth of a second to import.
    if name == "Samples":
        import numpy as np
        from numpy.typing import NDArray

        return NDArray[np.float32]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
