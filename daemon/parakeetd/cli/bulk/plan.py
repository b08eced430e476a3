"""Which files are to be transcribed, and where the result of each goes. All but the walk is pure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from parakeetd.errors import InputError

_PLAIN: Final = (".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph")
_PACKED: Final = (".flac", ".mp3", ".ogg", ".oga", ".opus")

AUDIO_SUFFIXES: Final = frozenset((*_PLAIN, *_PACKED))
"""Names of what is recognised in a folder; a file that is named itself may have any."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file and its result."""

    source: Path
    target: Path


@dataclass(slots=True)
class Gathered:
    """What there is to do."""

    left: list[Item] = field(default_factory=list)
    done: int = 0
    """Files whose results are there already."""
    unread: list[str] = field(default_factory=list)
    """Folders that could not be looked into: a line about each."""


def gather(sources: Sequence[Path], output: Path, suffix: str, *, again: bool = False) -> Gathered:
    """Look for audio in folders and below them, and take files as they are named.

    Hidden files and folders are left out, links to folders not followed: they may lead in a circle.

    Args:
        suffix: of results, such as `.txt`.
        again: also what has a result.

    Raises:
        InputError: a source is not there, two files would get the same result, or there is no audio at all.
    """
    found = Gathered()
    owners: dict[Path, Path] = {}
    for folder, below, names in _folders(sources, found.unread):
        for name, result in result_names(names, suffix).items():
            item = Item(folder / name, output / below / result)
            # Within one folder names differ by themselves.
            if len(sources) > 1 and (other := owners.get(item.target)) is not None:
                if other == item.source:
                    continue
                raise InputError(
                    f"{other} and {item.source} would both be written to {item.target}; write them into two folders"
                )
            if len(sources) > 1:
                owners[item.target] = item.source
            if not again and item.target.is_file():
                found.done += 1
            else:
                found.left.append(item)
    if not (found.left or found.done or found.unread):
        raise InputError(f"{', '.join(map(str, sources))}: no audio; looked for {listed(AUDIO_SUFFIXES)}")
    return found


def result_names(names: Iterable[str], suffix: str) -> dict[str, str]:
    """The name of each file's result, for all files of one folder: `talk.txt` for `talk.wav`; where two would be called
    the same, the whole name stays, `talk.wav.txt` and `talk.flac.txt`. No two files share a name."""
    results = {name: PurePath(name).stem + suffix for name in names}
    while True:
        count = Counter(results.values())
        shared = [name for name, result in results.items() if count[result] > 1 and result != name + suffix]
        if not shared:
            return results
        results.update((name, name + suffix) for name in shared)


def is_audio(name: str) -> bool:
    """Whether a file in a folder is taken for audio, by its name."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in AUDIO_SUFFIXES


def listed(suffixes: Iterable[str]) -> str:
    """For people: `flac, mp3, wav`."""
    return ", ".join(sorted(suffix.removeprefix(".") for suffix in suffixes))


def _folders(sources: Sequence[Path], unread: list[str]) -> Iterator[tuple[Path, Path, Iterable[str]]]:
    """Folders with what is to be transcribed of them: (folder, where its results go below the output, names)."""
    named: dict[Path, dict[str, None]] = {}
    for source in sources:
        if source.is_dir():
            yield from _walk(source, unread)
        elif source.exists():
            named.setdefault(source.parent, {})[source.name] = None
        else:
            raise InputError(f"{source}: no such file or folder")
    for folder, names in named.items():
        yield folder, Path(), names


def _walk(top: Path, unread: list[str]) -> Iterator[tuple[Path, Path, Iterable[str]]]:
    """The folders with audio from `top` down."""

    def tell(error: OSError) -> None:
        unread.append(f"{error.filename}: cannot be read: {error.strerror}")

    for folder, folders, names in os.walk(top, onerror=tell):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if audio := sorted(filter(is_audio, names)):
            yield Path(folder), Path(folder).relative_to(top), audio
