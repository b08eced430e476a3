"""A progress bar on stderr, for people who wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LONG_SECONDS = 20.0
"""Audio that is worth a bar: less is done before one has been read."""


class ProgressBar:
    """Shows how much of several recordings is done."""

    def __init__(self, bar: Progress | None, files: Sequence[Path], lengths: Sequence[float]) -> None:
        self._bar = bar
        self._files = files
        self._lengths = lengths
        self._task: TaskID | None = None if bar is None else bar.add_task("loading", total=sum(lengths))

    def advance(self, number: int, seconds: float) -> None:
        """So many seconds of the file with this number are done, and all files before it."""
        if self._bar is not None and self._task is not None:
            done = sum(self._lengths[:number]) + seconds
            self._bar.update(self._task, completed=done, description=self._files[number].name)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Out of the way while something is printed on a terminal that stdout and stderr may share."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


@contextmanager
def progress_bar(files: Sequence[Path]) -> Iterator[ProgressBar]:
    """A bar over these audio files, when stderr is a terminal and they are long; otherwise one that shows nothing."""
    lengths = [_seconds(file) for file in files] if sys.stderr.isatty() else []
    if sum(lengths) < LONG_SECONDS:
        yield ProgressBar(None, files, lengths)
        return
    with _bar() as bar:
        yield ProgressBar(bar, files, lengths)


@contextmanager
def work_bar(description: str) -> Iterator[Callable[[float, float], None]]:
    """A bar with the time left, when stderr is a terminal; to be told what is done and what it will be in all."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with _bar() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    # stdout stays as it is: rich would send it to the bar's terminal, past a pipe or a file.
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )


def _seconds(file: Path) -> float:
    """Length of an audio file; 0 for a pipe, and for one that cannot be read, which its turn will report."""
    import soundfile

    if not file.is_file():
        return 0.0
    try:
        # By descriptor: a name that ends in .raw would be taken for samples without a header.
        with (
            file.open("rb", buffering=0) as opened,
            soundfile.SoundFile(opened.fileno(), closefd=False) as sound,
        ):
            seconds = float(sound.frames / sound.samplerate)
    except (OSError, RuntimeError, ZeroDivisionError):
        return 0.0
    # A file that does not say its length is said to have nearly 2^63 frames.
    return seconds if seconds < 1e9 else 0.0
