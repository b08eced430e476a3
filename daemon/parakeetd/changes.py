"""What two configurations differ in, and what of that can hold while the daemon runs. Pure functions."""

from __future__ import annotations

import dataclasses

from parakeetd.config import Config

TABLES_AT_ONCE = frozenset({"model", "device", "limits", "vad", "segmentation", "text"})
"""Keys of these hold at the next segment or the next stream."""

KEYS_AT_ONCE = frozenset({"server.drain_seconds"})

KEYS_LATER = frozenset(
    f"limits.{name}" for name in ("max_connections", "max_message_mib", "unread_seconds", "upload_seconds")
)
"""The server was built with them."""


def changed_keys(before: Config, after: Config) -> list[str]:
    """Keys such as `vad.confirm` whose values differ, in the order of the file."""
    return [
        f"{table.name}.{key.name}"
        for table in dataclasses.fields(Config)
        for key in dataclasses.fields(getattr(before, table.name))
        if getattr(getattr(before, table.name), key.name) != getattr(getattr(after, table.name), key.name)
    ]


def needs_restart(key: str) -> bool:
    """Whether a key holds from the next start on only."""
    return key in KEYS_LATER or (key.split(".")[0] not in TABLES_AT_ONCE and key not in KEYS_AT_ONCE)
