"""Whether there is anything to do; answered without the toolchain, in a fraction of a second."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parakeetd.errors import BundleError
from parakeetd.model.bundle import Bundle, Precision
from parakeetd_convert.sums import file_sha256


def already_made(
    bundle: Path, source: Path | str, precisions: Iterable[Precision], *, sherpa: bool = False
) -> bool:
    """A whole bundle was made from this source, with all that is wanted now.

    Args:
        source: the `.nemo` file, compared by its content; or just its name where it is not at hand, as for a model
            of the catalog that was fetched before.
    """
    try:
        manifest = Bundle.read(bundle).manifest
    except BundleError:
        return False
    if not set(precisions) <= set(manifest.precisions):
        return False
    if sherpa and not any(name.startswith("sherpa/") for name in manifest.files):
        return False
    if isinstance(source, str):
        return manifest.source.file == source
    return manifest.source.sha256 == file_sha256(source)
