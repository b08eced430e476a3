"""The `parakeetd-convert` command: reads flags and the environment, prints steps and errors."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakeetd.errors import InputError, ParakeetError
from parakeetd_convert import catalog

if TYPE_CHECKING:
    from rich.console import Console

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

UNDETERMINED = "und"
"""BCP-47 for a language that nobody stated: a `.nemo` file does not."""


def main() -> None:
    """Run the command. Errors are one line on stderr; with --debug they come with a traceback."""
    debug = "--debug" in sys.argv
    try:
        sys.exit(command.main(prog_name="parakeetd-convert", standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        _complain(error.format_message())
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted; nothing was published")
        sys.exit(130)
    except ParakeetError as error:
        if debug:
            raise
        _complain(str(error))
        sys.exit(error.exit_code)
    # The last stop before a traceback, which only --debug shows.
    except Exception as error:
        if debug:
            raise
        first = next(iter(str(error).splitlines()), "") or "no message"
        _complain(f"unexpected {type(error).__name__}: {first}; run again with --debug and report this")
        sys.exit(1)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="FILE.nemo | NAME | list")
@click.option(
    "--name", help="Name of the bundle.  [default: the catalog's name of the file, or the file's own]"
)
@click.option(
    "--models",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of bundles.  [default: $PARAKEETD_MODELS, or ~/.local/share/parakeetd/models]",
)
@click.option(
    "--language",
    "languages",
    multiple=True,
    metavar="TAG",
    help="Language that the model writes, such as en-US; may be repeated.  [default: from the catalog]",
)
@click.option("--force", is_flag=True, help="Replace a bundle of this name.")
@click.option("--debug", is_flag=True, help="Show tracebacks and the messages of NeMo.")
def command(
    target: str, name: str | None, models: Path | None, languages: tuple[str, ...], force: bool, debug: bool
) -> None:
    """Turn a NeMo Parakeet-TDT model into a bundle that parakeetd serves.

    FILE.nemo is converted to ONNX, verified against NeMo itself and published in one step: a conversion that
    fails or is interrupted leaves what was there untouched.

    NAME is a model of the catalog, whose .nemo file must be in the current folder; without it the command
    says what to fetch. `parakeetd-convert list` prints the catalog.

    \b
    Examples:
      parakeetd-convert parakeet-tdt-0.6b-v3.nemo
      parakeetd-convert my-model.nemo --name mine --language de-DE
    """
    if target == "list":
        click.echo(_catalog_lines())
        return
    models = models or default_models(os.environ)
    file = _file_of(target)
    entry = catalog.by_file(file.name)
    name = name or (entry.name if entry else file.stem)
    if not NAME.fullmatch(name) or name == "list":
        raise InputError(f"--name {name!r}: use letters, digits, dots, underscores and hyphens")
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    _convert(
        file, name, models, languages or (entry.languages if entry else ()), entry, force=force, debug=debug
    )


def _convert(
    file: Path,
    name: str,
    models: Path,
    languages: tuple[str, ...],
    entry: catalog.Entry | None,
    *,
    force: bool,
    debug: bool,
) -> None:
    from rich.console import Console

    from parakeetd_convert.pipeline import Job, already_there, convert

    console = Console(stderr=True, highlight=False)
    job = Job(
        file=file,
        name=name,
        models=models,
        languages=languages or (UNDETERMINED,),
        licence=entry.licence if entry else "",
        force=force,
        debug=debug,
    )
    if not force and already_there(job):
        click.echo(f"{models / name} was already made from this file; --force makes it again", err=True)
        return
    if not languages:
        click.echo(f"the language of {file.name} is not known; --language states it", err=True)
    path = convert(job, lambda title: _step(console, title))
    click.echo(f"{name}: {path}", err=True)
    click.echo(f"serve it with: parakeetd serve --model {name}", err=True)


def default_models(environment: Mapping[str, str]) -> Path:
    """Where bundles live when --models does not say: `$PARAKEETD_MODELS`, else the user's data folder."""
    if folder := environment.get("PARAKEETD_MODELS"):
        return Path(folder).expanduser()
    data = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "parakeetd" / "models"


def _file_of(target: str) -> Path:
    """The `.nemo` file that a target means.

    Raises:
        InputError: a catalog name whose file is not at hand, or neither a name nor a file.
    """
    entry = catalog.by_name(target)
    if entry is None:
        if "/" not in target and not target.endswith(".nemo") and not Path(target).exists():
            names = ", ".join(known.name for known in catalog.CATALOG)
            raise InputError(f"{target!r} is neither a .nemo file nor a name of the catalog ({names})")
        return Path(target)
    if not entry.repository:
        raise InputError(f"{entry.name} ships in the package: there is nothing to convert")
    if not Path(entry.file).is_file():
        raise InputError(
            f"{entry.file} is not in this folder: fetch {entry.url} and run: "
            f"parakeetd-convert {entry.file} --name {entry.name}"
        )
    return Path(entry.file)


def _catalog_lines() -> str:
    rows = [("NAME", "SOURCE", "LICENCE", "WHAT FOR")]
    rows += [(entry.name, entry.source, entry.licence, entry.purpose) for entry in catalog.CATALOG]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )


@contextlib.contextmanager
def _step(console: Console, title: str) -> Iterator[None]:
    started = time.monotonic()
    with console.status(f"{title} ..."):
        yield
    console.print(f"{title}: {time.monotonic() - started:.1f} s")


def _complain(message: str) -> None:
    click.echo(f"parakeetd-convert: {message}", err=True)
