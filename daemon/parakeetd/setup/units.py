"""The unit files that ship, made to fit an installation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Final

_COMMAND: Final = "/usr/bin/parakeetd"
"""As the shipped files have it; a distribution's package uses them as they are."""


def shipped(*, system: bool) -> str:
    """The unit file for the machine or for a user."""
    kind = "system" if system else "user"
    file = resources.files("parakeetd.setup") / "units" / kind / "parakeetd.service"
    return file.read_text(encoding="utf-8")


def unit_text(*, system: bool, command: Iterable[str], environment: Mapping[str, str]) -> str:
    """The unit file of an installation.

    Args:
        command: the words that run `parakeetd`.
        environment: variables that the daemon needs beyond those of the shipped file.
    """
    words = " ".join(quoted(word, command=True) for word in command)
    lines = []
    for line in shipped(system=system).splitlines():
        if line.startswith("ExecStart="):
            line = line.replace(_COMMAND, words)
            lines += [f"Environment={quoted(f'{name}={value}')}" for name, value in environment.items()]
        lines.append(line)
    return "\n".join(lines) + "\n"


def quoted(word: str, *, command: bool = False) -> str:
    """A word as systemd reads it back: in quotes where it needs them, `%` standing for itself, and `$` too.

    Args:
        command: it is part of a command line, the only place where systemd looks for variables.
    """
    escaped = word.replace("$", "$$") if command else word
    escaped = escaped.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    plain = all(character.isalnum() or character in "/._-+=:@," for character in word)
    return word if plain and word else f'"{escaped}"'
