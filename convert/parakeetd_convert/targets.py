"""What the command's argument means: a model of the catalog, or a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from parakeetd.errors import InputError
from parakeetd_convert import catalog

RESERVED = ("list", "all")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """What to convert."""

    name: str
    """Of the bundle."""
    file: Path | None
    """The `.nemo` file; None for a model of the catalog that is to be fetched."""
    entry: catalog.Entry | None
    """What the catalog says of it."""

    @property
    def source(self) -> Path | str:
        """The file, or its name where it is not at hand."""
        return self.file or (self.entry.file if self.entry else self.name)


def read_target(argument: str, name: str | None) -> Target:
    """Find out what is meant. A catalog's model whose file lies in the current folder is not fetched.

    Raises:
        InputError: neither a name nor a file, or a name that a bundle cannot have.
    """
    entry = catalog.by_name(argument)
    if entry is not None:
        if not entry.repository:
            raise InputError(f"{entry.name} ships in the package: there is nothing to convert")
        file = Path(entry.file) if Path(entry.file).is_file() else None
        return Target(_checked(name or entry.name), file, entry)
    if "/" not in argument and not argument.endswith(".nemo") and not Path(argument).exists():
        names = ", ".join(known.name for known in catalog.CATALOG)
        raise InputError(f"{argument!r} is neither a .nemo file nor a name of the catalog ({names})")
    file = Path(argument)
    entry = catalog.by_file(file.name)
    target = Target(_checked(name or (entry.name if entry else file.stem)), file, entry)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    return target


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise InputError(f"--name {name!r}: use letters, digits, dots, underscores and hyphens")
    return name
