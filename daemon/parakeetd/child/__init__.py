"""The GPU's engine in a process of its own, which can be killed, and which takes all its memory with it.

`home` is the parent's half, `serve` the child's; `process` starts, watches and ends one; `frames` and `messages` are
what goes between them.
"""

from __future__ import annotations

from parakeetd.child.home import ChildHome, look
from parakeetd.child.messages import ModelToOpen

__all__ = ["ChildHome", "ModelToOpen", "look"]
