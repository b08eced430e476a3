"""`parakeetd-convert list`: the catalog, and what of it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parakeetd.errors import BundleError
from parakeetd.model.bundle import Bundle, find_bundle, installed_names
from parakeetd_convert.catalog import CATALOG, Entry

_HEADINGS = (
    "NAME", "INSTALLED", "DOWNLOAD", "DISK", "PARAMETERS", "LANGUAGES", "LICENCE", "SOURCE", "WHAT FOR",
)  # fmt: skip


def catalog_lines(models: Path) -> str:
    """A table of the catalog's models and of all others that are installed.

    DOWNLOAD and DISK, the size of a bundle in all precisions, are about; INSTALLED is measured.

    Raises:
        InputError: the folder of models cannot be read.
    """
    installed = {name: _installed(name, models) for name in installed_names(models)}
    rows = [_HEADINGS, *(_known(entry, installed.pop(entry.name, None)) for entry in CATALOG)]
    rows += [_unknown(name, bundle) for name, bundle in installed.items()]
    return _table(rows)


def _known(entry: Entry, installed: Bundle | str | None) -> tuple[str, ...]:
    here = not entry.repository
    return (
        entry.name,
        _state(installed),
        "-" if here else _size(entry.download),
        "-" if here else _size(entry.installed()),
        f"{entry.parameters} M" if entry.parameters < 1_000 else f"{entry.parameters / 1_000:g} B",
        _languages(entry.languages),
        entry.licence,
        entry.source,
        entry.purpose,
    )


def _unknown(name: str, installed: Bundle | str) -> tuple[str, ...]:
    if isinstance(installed, str):
        return (name, installed, *"------", "")
    manifest = installed.manifest
    languages, licence = _languages(manifest.languages), manifest.source.licence or "not stated"
    return (name, _state(installed), "-", "-", "-", languages, licence, manifest.source.file, "")


def _installed(name: str, models: Path) -> Bundle | str:
    try:
        return find_bundle(name, models)
    except BundleError:
        return "damaged"


def _state(installed: Bundle | str | None) -> str:
    if installed is None or isinstance(installed, str):
        return installed or "no"
    return f"{_size(installed.bytes_on_disk / 1e6)} ({', '.join(installed.manifest.precisions)})"


def _size(megabytes: float) -> str:
    return f"{megabytes:.0f} MB" if megabytes < 1_000 else f"{megabytes / 1_000:.1f} GB"


def _languages(tags: Sequence[str]) -> str:
    return ", ".join(tags) if len(tags) < 3 else f"{len(tags)}: {', '.join(tags[:3])} ..."


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
