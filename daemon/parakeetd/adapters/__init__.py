"""Speech recognition for programs that speak neither Riva's protocol nor ours: Wyoming and OpenAI's. Off by default;
only what is switched on is loaded, with its library."""

from __future__ import annotations

from parakeetd.adapters.service import Adapters, check_adapters

__all__ = ["Adapters", "check_adapters"]
