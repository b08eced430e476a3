"""The `parakeetd-convert` command: reads flags and the environment, prints steps and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from parakeetd.errors import InputError, ParakeetError
from parakeetd.model.bundle import PRECISIONS, Precision
from parakeetd_convert import catalog
from parakeetd_convert.download import fetch
from parakeetd_convert.isolated import convert_isolated, remove_dead
from parakeetd_convert.listing import catalog_lines
from parakeetd_convert.made import already_made
from parakeetd_convert.nemo import inspect
from parakeetd_convert.preflight import check_conversion
from parakeetd_convert.steps import steps_on_stderr
from parakeetd_convert.sums import cache_folder
from parakeetd_convert.targets import Target, read_target

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
@click.argument("target", metavar="NAME | all | FILE.nemo | list")
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
@click.option(
    "--precision",
    metavar="LIST",
    default=",".join(PRECISIONS),
    show_default=True,
    help="What to make, separated by commas: int8 for the CPU, fp16 for the GPU; fp32 is always made.",
)
@click.option("--sherpa", is_flag=True, help="Write the model for sherpa-onnx too, into its folder sherpa/.")
@click.option(
    "--verify-audio",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Recordings to verify on too, with their transcripts in DIR/manifest.jsonl if you have them.",
)
@click.option(
    "--isolated",
    is_flag=True,
    help="Convert in a virtual environment that is made for it, with torch and NeMo, and removed afterwards. "
    "$PARAKEETD_TORCH is what pip installs first.  [default: torch==2.13.0]",
)
@click.option("--force", is_flag=True, help="Replace a bundle of this name.")
@click.option(
    "--skip-preflight", is_flag=True, help="Begin whatever the look at memory, disk and libraries says."
)
@click.option("--debug", is_flag=True, help="Show tracebacks and the messages of NeMo.")
def command(
    target: str,
    name: str | None,
    models: Path | None,
    languages: tuple[str, ...],
    precision: str,
    sherpa: bool,
    verify_audio: Path | None,
    isolated: bool,
    force: bool,
    skip_preflight: bool,
    debug: bool,
) -> int:
    """Turn a NeMo Parakeet-TDT model into a bundle that parakeetd serves.

    The model is converted to ONNX, verified against NeMo itself and published in one step: a conversion that
    fails or is interrupted leaves what was there untouched. Where there is nothing to do, nothing is done.

    NAME is a model of the catalog, fetched from the Hugging Face hub unless its .nemo file lies in the current
    folder; `all` is every one of them. `parakeetd-convert list` prints the catalog and what is installed.

    \b
    Examples:
      parakeetd-convert 0.6b-v3 --isolated
      parakeetd-convert parakeet-tdt-0.6b-v3.nemo
      parakeetd-convert my-model.nemo --name mine --language de-DE
    """
    options = Options(
        name=name,
        models=models or default_models(os.environ),
        languages=languages,
        precisions=_precisions(precision),
        sherpa=sherpa,
        verify_audio=verify_audio,
        force=force,
        skip_preflight=skip_preflight,
        debug=debug,
    )
    if target == "list":
        click.echo(catalog_lines(options.models))
        return 0
    if target == "all":
        return _convert_all(options, isolated=isolated)
    return _convert_one(target, options, isolated=isolated)


@dataclass(frozen=True)
class Options:
    """The flags."""

    name: str | None
    models: Path
    languages: tuple[str, ...]
    precisions: tuple[Precision, ...]
    sherpa: bool
    verify_audio: Path | None
    force: bool
    skip_preflight: bool
    debug: bool

    def arguments(self, target: str) -> list[str]:
        """The command line for another process; it converts where it runs."""
        words = [target, "--models", str(self.models), "--precision", ",".join(self.precisions)]
        words += ["--name", self.name] if self.name else []
        for language in self.languages:
            words += ["--language", language]
        words += ["--verify-audio", str(self.verify_audio)] if self.verify_audio else []
        flags = {
            "--sherpa": self.sherpa,
            "--force": self.force,
            "--skip-preflight": self.skip_preflight,
            "--debug": self.debug,
        }
        return words + [flag for flag, given in flags.items() if given]


def _convert_one(argument: str, options: Options, *, isolated: bool) -> int:
    target = read_target(argument, options.name)
    if _nothing_to_do(target, options):
        bundle = options.models / target.name
        click.echo(f"{bundle} was already made from this file; --force makes it again", err=True)
        return 0
    if target.file:
        inspect(target.file)
    if isolated:
        return convert_isolated(options.arguments(argument), steps_on_stderr(), os.environ)
    remove_dead(cache_folder())
    if not options.skip_preflight:
        size = target.file.stat().st_size if target.file else 0
        if target.entry and not target.file:
            size = target.entry.download * 1_000_000
        check_conversion(size, options.precisions, options.models)
    file = target.file
    if file is None and target.entry:
        file = fetch(target.entry)
    if file is not None:
        _convert(file, target, options)
    return 0


def _nothing_to_do(target: Target, options: Options) -> bool:
    if options.force or options.verify_audio:
        return False
    return already_made(
        options.models / target.name, target.source, options.precisions, sherpa=options.sherpa
    )


def _convert_all(options: Options, *, isolated: bool) -> int:
    """Every model of the catalog, each in a process of its own: one that fails, or takes too much, ends alone."""
    if options.name:
        raise InputError("--name: all models of the catalog have their own")
    if isolated:
        return convert_isolated(options.arguments("all"), steps_on_stderr(), os.environ)
    failed = []
    for entry in catalog.CATALOG:
        if entry.repository:
            click.echo(f"== {entry.name}", err=True)
            words = [sys.executable, "-m", "parakeetd_convert", *options.arguments(entry.name)]
            if subprocess.run(words, check=False).returncode:
                failed.append(entry.name)
    if failed:
        raise ParakeetError(f"not converted: {', '.join(failed)}; each has its reason above")
    return 0


def _convert(file: Path, target: Target, options: Options) -> None:
    from parakeetd_convert.pipeline import Job, convert

    entry = target.entry
    languages = options.languages or (entry.languages if entry else ())
    job = Job(
        file=file,
        name=target.name,
        models=options.models,
        languages=languages or (UNDETERMINED,),
        licence=entry.licence if entry else "",
        precisions=options.precisions,
        sherpa=options.sherpa,
        verify_audio=options.verify_audio,
        force=options.force,
        debug=options.debug,
    )
    if not languages:
        click.echo(f"the language of {file.name} is not known; --language states it", err=True)
    path = convert(job, steps_on_stderr())
    click.echo(f"{target.name}: {path}", err=True)
    click.echo(f"serve it with: parakeetd serve --model {target.name}", err=True)


def _precisions(listed: str) -> tuple[Precision, ...]:
    """The precisions of a list, float32 among them.

    Raises:
        InputError: one is not known.
    """
    wanted = {part.strip() for part in listed.split(",")}
    if unknown := sorted(wanted - set(PRECISIONS)):
        raise InputError(f"--precision {unknown[0]!r}: choose from {', '.join(PRECISIONS)}")
    return tuple(precision for precision in PRECISIONS if precision == "fp32" or precision in wanted)


def default_models(environment: Mapping[str, str]) -> Path:
    """Where bundles live when --models does not say: `$PARAKEETD_MODELS`, else the user's data folder."""
    if folder := environment.get("PARAKEETD_MODELS"):
        return Path(folder).expanduser()
    data = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "parakeetd" / "models"


def _complain(message: str) -> None:
    for line in message.splitlines():
        click.echo(f"parakeetd-convert: {line}", err=True)
