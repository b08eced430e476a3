"""parakeetd: local streaming speech recognition.

`load` opens a model for use in a Python program; the daemon's own parts are imported by their full names.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parakeetd.library import Model, Transcription, load

# ONNX Runtime's official builds report to their maker: processor, programs' paths, errors, with an identifier that
# they keep in the user's home. This is their switch, to be set before they are imported. Nothing leaves the machine.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"

__all__ = ["Model", "Transcription", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Imported when first used: the runtime and its libraries take half a second that `--help` need not wait for.
    if name in ("Model", "Transcription", "load"):
        from parakeetd import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
