"""The blocks of `daemon/DESKTOPS.md`, by the word behind their language."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "daemon" / "DESKTOPS.md"

_BLOCK = re.compile(r"^```\w+ ([\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipes() -> dict[str, str]:
    return {match[1]: match[2] for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}
