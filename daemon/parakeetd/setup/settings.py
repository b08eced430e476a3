"""Changes one value of a TOML file that a person wrote, and nothing else of it."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from parakeetd.errors import ConfigError


def with_setting(text: str, table: str, key: str, value: str) -> str:
    """The text with `key = "value"` in `[table]`; comments, order and all other settings stay.

    Raises:
        ConfigError: the text is not TOML, or is written in a way that only a person can change.
    """
    before = _read(text)
    if not isinstance(before.get(table, {}), dict):
        raise ConfigError(f"{table} is no table; write yourself: [{table}]")
    if before.get(table, {}).get(key) == value:
        return text
    # A JSON string of printable characters is a TOML string too.
    written = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    wanted = before | {table: {**before.get(table, {}), key: value}}
    for changed in _ways(text, table, key, written):
        if _reads_as(changed, wanted):
            return changed
    raise ConfigError(f"{table}.{key} is not where it could be changed; write yourself: [{table}] {written}")


def _ways(text: str, table: str, key: str, written: str) -> list[str]:
    """The text changed in each way that may be right: the value in place, in its table, in a table at the end."""
    lines = text.splitlines()
    ways = []
    heads = [number for number, line in enumerate(lines) if _heads(line, table)]
    for head in heads:
        end = next((n for n in range(head + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
        for number in range(head + 1, end):
            if found := re.match(
                rf"""\s*{re.escape(key)}\s*=\s*("[^"]*"|'[^']*')(\s*#.*)?\s*$""", lines[number]
            ):
                line = written + (found[2] or "")
                ways.append("\n".join([*lines[:number], line, *lines[number + 1 :]]) + "\n")
        ways.append("\n".join([*lines[: head + 1], written, *lines[head + 1 :]]) + "\n")
    gap = [""] if lines and lines[-1] else []
    ways.append("\n".join([*lines, *gap, f"[{table}]", written]) + "\n")
    return ways


def _heads(line: str, table: str) -> bool:
    return re.match(rf"\s*\[\s*{re.escape(table)}\s*\]\s*(#.*)?$", line) is not None


def _read(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"not valid TOML: {error}") from error


def _reads_as(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except ValueError:
        return False
