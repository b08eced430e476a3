"""`parakeetd transcribe`: files to text."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from parakeetd.cli import options
from parakeetd.cli.output import FORMATS
from parakeetd.config import DeviceChoice
from parakeetd.errors import InputError, ParakeetError
from parakeetd.library import Model, load
from parakeetd.vad import DetectorName

SUFFIX = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


@click.command("transcribe")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@options.MODEL
@options.MODELS
@options.DEVICE
@click.option(
    "--vad",
    type=click.Choice(["webrtc", "off"]),
    default="webrtc",
    show_default=True,
    help="How to cut the audio: at pauses, or (off) only where a segment passes 20 s.",
)
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write one file per input into this folder, instead of printing.",
)
def command(
    files: Sequence[Path],
    model: str | None,
    models: Path | None,
    device: str | None,
    vad: str,
    form: str,
    output: Path | None,
) -> None:
    """Recognise the speech in audio files (WAV, FLAC, OGG, MP3, AIFF; any rate; up to 8 channels).

    Results come in the order of the files. A file that cannot be read is reported and the others are still
    transcribed; the exit code is then 2.
    """
    targets = _targets(files, output, SUFFIX[form])
    render = FORMATS[form]
    failed: list[ParakeetError] = []
    with (
        load(model, device=cast(DeviceChoice, device or "auto"), models=models) as loaded,
        _progress(files) as advance,
    ):
        for number, (file, target) in enumerate(zip(files, targets, strict=True)):
            try:
                text = _transcribe(loaded, file, number, vad, render, advance)
            except ParakeetError as error:
                failed.append(error)
                click.echo(f"parakeetd: {error}", err=True)
                continue
            if target is None:
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                write_atomically(target, text)
    if failed:
        if len(files) > 1:
            click.echo(f"parakeetd: {len(failed)} of {len(files)} files failed", err=True)
        raise click.exceptions.Exit(max(error.exit_code for error in failed))


def _transcribe(
    loaded: Model,
    file: Path,
    number: int,
    vad: str,
    render: Callable[..., str],
    advance: Callable[[int, float], None],
) -> str:
    transcription = loaded.transcribe(
        file, vad=cast(DetectorName, vad), progress=lambda seconds: advance(number, seconds)
    )
    return render(str(file), transcription)


def _targets(files: Sequence[Path], output: Path | None, suffix: str) -> list[Path | None]:
    """Where each result goes: inputs of the same name would overwrite each other's, which is refused at once."""
    if output is None:
        return [None] * len(files)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the output folder {output}: {error.strerror}") from error
    targets = [output / f"{file.stem}{suffix}" for file in files]
    for i, target in enumerate(targets):
        if target in targets[:i]:
            other = files[targets.index(target)]
            raise InputError(f"{other} and {files[i]} would both be written to {target}; rename one")
    return list(targets)


def write_atomically(target: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        InputError: it cannot be written; the message names it.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                # The temporary file is private to the user; the result gets what any new file gets.
                os.umask(mask := os.umask(0))
                os.fchmod(file.fileno(), 0o666 & ~mask)
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error


@contextmanager
def _progress(files: Sequence[Path]) -> Iterator[Callable[[int, float], None]]:
    """A progress bar on stderr when that is a terminal; told (number of the file, seconds of it that are done)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda number, seconds: None
        return
    lengths = [_seconds(file) for file in files]
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("transcribing", total=sum(lengths))

        def advance(number: int, seconds: float) -> None:
            bar.update(task, completed=sum(lengths[:number]) + seconds, description=files[number].name)

        yield advance


def _seconds(file: Path) -> float:
    """Length of an audio file; 0 for one that cannot be read, which is reported when its turn comes."""
    import soundfile

    try:
        return float(soundfile.info(str(file)).duration)
    except (OSError, RuntimeError):
        return 0.0
