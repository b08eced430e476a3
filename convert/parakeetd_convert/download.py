"""Fetching a model of the catalog from the Hugging Face hub, and holding it against the hub's checksum."""

from __future__ import annotations

import re
from pathlib import Path

from parakeetd.errors import ParakeetError
from parakeetd_convert.catalog import Entry
from parakeetd_convert.errors import MissingToolchain
from parakeetd_convert.sums import file_sha256

_SHA256 = re.compile(r"[0-9a-f]{64}")


class DownloadError(ParakeetError):
    """A source that cannot be had from the hub."""

    def __init__(self, entry: Entry, reason: str) -> None:
        reason = " ".join(reason.split()).rstrip(".")
        super().__init__(
            f"{entry.file} cannot be fetched ({reason}); fetch {entry.url} elsewhere and run: "
            f"parakeetd-convert {entry.file} --name {entry.name}"
        )
        self.entry = entry


def fetch(entry: Entry) -> Path:
    """The `.nemo` file of a model of the catalog, in the hub's cache; fetched with a progress bar when it is not.

    A fetch that was interrupted is taken up where it stopped. Without network, what the cache holds is used.

    Raises:
        DownloadError: the hub cannot be reached or refuses, or what came does not match the hub's SHA-256 sum.
        MissingToolchain: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.utils import HfHubHTTPError
    except ImportError as error:
        raise MissingToolchain(
            f"huggingface_hub cannot be loaded ({error}); fetching needs the extra: "
            "pip install 'parakeetd[convert]', or give --isolated"
        ) from error
    # Its errors are caught whole: which HTTP library the client uses, and what that raises, has changed over time.
    unreachable = ""
    try:
        # Asked beforehand and once: a fetch would try again for half a minute.
        get_hf_file_metadata(hf_hub_url(entry.repository, entry.file))
    except HfHubHTTPError as error:
        raise DownloadError(entry, f"the hub answered {error.response.status_code}") from error
    except Exception as error:
        unreachable = f"no connection to the hub: {_cause(error)}"
    try:
        file = Path(hf_hub_download(entry.repository, entry.file, local_files_only=bool(unreachable)))
    except Exception as error:
        raise DownloadError(entry, unreachable or _cause(error)) from error
    _check(entry, file)
    return file


def _check(entry: Entry, file: Path) -> None:
    """Compare with the sum that the hub states. Its cache calls each file by that sum."""
    stored = file.resolve()
    if not _SHA256.fullmatch(stored.name):
        raise DownloadError(entry, "the hub stated no SHA-256 sum for it")
    if file_sha256(file) != stored.name:
        stored.unlink()
        file.unlink(missing_ok=True)
        raise DownloadError(entry, "what came does not match the hub's SHA-256 sum, and was removed")


def _cause(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
