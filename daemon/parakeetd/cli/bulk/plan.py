"""Which files are to be transcribed, and where the result of each goes. All but the walk is pure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from parakeetd.errors import InputError

_PLAIN: Final = (".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph")
_PACKED: Final = (".flac", ".mp3", ".ogg", ".oga", ".opus")

AUDIO_SUFFIXES: Final = frozenset((*_PLAIN, *_PACKED))
"""Names of what is recognised in a folder; a file that is named itself may have any."""


class Item(NamedTuple):
    """A file and its result. There may be millions: those of a folder share its paths."""

    folder: Path
    name: str
    output: Path
    result: str

    @property
    def source(self) -> Path:
        return self.folder / self.name

    @property
    def target(self) -> Path:
        return self.output / self.result


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
    owners: dict[Path, Item] = {}
    for folder, below, names in _folders(sources, found.unread):
        into = output / below
        there = frozenset() if again else _results(into)
        for name, result in result_names(names, suffix).items():
            item = Item(folder, name, into, result)
            # Within one folder names differ by themselves.
            if len(sources) > 1 and (other := owners.setdefault(item.target, item)) is not item:
                if other.source == item.source:
                    continue
                raise InputError(
                    f"{other.source} and {item.source} would both be written to {item.target}; "
                    "write them into two folders"
                )
            if result in there:
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


def _results(folder: Path) -> frozenset[str]:
    """The names of the files in a folder of results; none where it is not there yet."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise InputError(f"cannot read the output folder {folder}: {error.strerror}") from error


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
