"""The `parakeetd` command: flags in, exit codes out.

Exit code 0 for success, 2 for wrong usage or input, 1 for a failure. Errors are one line on stderr; `--debug` adds the
traceback. Each command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import sys

import click

from parakeetd import __version__
from parakeetd.errors import ParakeetError

COMMANDS = ("serve", "demo", "transcribe", "models", "doctor")


class _Lazy(click.Group):
    """A group whose commands live in modules of their own, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"parakeetd.cli.{cmd_name}").command
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="parakeetd")
@click.option("--debug", is_flag=True, help="Log in detail and show tracebacks.")
@click.pass_context
def parakeetd(context: click.Context, debug: bool) -> None:
    """Local streaming speech recognition: nothing leaves this machine.

    \b
    Try it:              parakeetd demo
    Transcribe a file:   parakeetd transcribe talk.flac
    Run the daemon:      parakeetd serve
    Look for problems:   parakeetd doctor
    """
    context.obj = debug
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if debug else "%(message)s",
        stream=sys.stderr,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        # Wherever it stands: people add it to the end of the command that failed.
        arguments = ["--debug", *(word for word in arguments if word != "--debug")]
    try:
        code = parakeetd.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        # The reader of our output has left; there is nobody to tell.
        sys.stderr.close()
        code = 1
    except ParakeetError as error:
        if debug:
            raise
        click.echo(f"parakeetd: {error}", err=True)
        code = error.exit_code
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"parakeetd: internal error, please report it ({type(error).__name__}: {error}); "
            "--debug shows the traceback",
            err=True,
        )
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
