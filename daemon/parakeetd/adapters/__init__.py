"""Speech recognition for programs that speak neither Riva's protocol nor ours: Wyoming and OpenAI's. Off by default;
only what is switched on is loaded, with its library."""

from __future__ import annotations

from parakeetd.adapters.service import LIBRARIES, Adapters, check_adapters, without_library

__all__ = ["LIBRARIES", "Adapters", "check_adapters", "without_library"]
