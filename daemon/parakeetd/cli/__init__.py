"""The `parakeetd` command: flags in, exit codes out.

Exit code 0 for success, 2 for wrong usage or input, 1 for a failure. Errors are one line on stderr; `--debug` adds the
traceback. Each command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from typing import TextIO

import click

from parakeetd import __version__
from parakeetd.errors import ParakeetError

COMMANDS: Mapping[str, str] = {
    "serve": "Run the daemon: serve speech recognition over gRPC.",
    "demo": "See it work: stream the shipped clips through the real server.",
    "transcribe": "Recognise the speech in audio files.",
    "listen": "Live captions from the microphone.",
    "dictate": "Type what is said into the window that has the focus.",
    "start": "Open the daemon's microphone.",
    "stop": "Close it, and recognise what was said last.",
    "toggle": "Open or close it: for a single key.",
    "cancel": "Close it, and forget what was said last.",
    "models": "List the installed models.",
    "status": "Say what the running daemon serves, and how busy it is.",
    "reload": "Give the running daemon a new configuration or model.",
    "load": "Have the running daemon open another model too.",
    "unload": "Have it close one again.",
    "doctor": "Check devices, models, configuration and addresses.",
    "calibrate": "Measure the devices, so that each segment goes to the faster.",
    "bench": "Measure speed, start and memory on this machine.",
    "cluster": "Serve on a Ray cluster: many machines, one service.",
    "install": "Run the daemon as a service of systemd, from now on.",
    "uninstall": "Take the service away again.",
}

_TOGETHER: Mapping[str, str] = dict.fromkeys(("start", "stop", "toggle", "cancel"), "microphone")
"""Commands that share a module, in which they have their own names."""


class _Lazy(click.Group):
    """A group whose commands live in modules of their own, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"parakeetd.cli.{_TOGETHER.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name if cmd_name in _TOGETHER else "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time: a progress bar puts itself there, to keep lines apart."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="parakeetd")
@click.option("--debug", is_flag=True, help="Log in detail and show tracebacks. May stand anywhere.")
def parakeetd(debug: bool) -> None:
    """Local streaming speech recognition: nothing leaves this machine.

    \b
    Try it:              parakeetd demo
    Transcribe a file:   parakeetd transcribe talk.flac
    Run the daemon:      parakeetd serve
    Look for problems:   parakeetd doctor

    `parakeetd COMMAND --help` shows what a command takes, with examples.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if debug else "%(message)s",
        handlers=[_Stderr()],
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process."""
    debug, words = _without_debug(list(sys.argv[1:] if arguments is None else arguments))
    sys.exit(_run(["--debug", *words] if debug else words or ["--help"], debug=debug))


def _without_debug(words: list[str]) -> tuple[bool, list[str]]:
    """Take `--debug` out, wherever it stands: people add it to the end of the command that failed."""
    flags_end = words.index("--") if "--" in words else len(words)
    flags = [word for word in words[:flags_end] if word != "--debug"]
    return len(flags) < flags_end, flags + words[flags_end:]


def _run(words: list[str], *, debug: bool) -> int:
    """Run a command; its errors become a line and an exit code."""
    try:
        code = parakeetd.main(words, prog_name="parakeetd", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "parakeetd"
        _say(f"{' '.join(error.format_message().split()).rstrip('.')} (see: {command} --help)")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of our output has left; there is nobody to tell. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, ParakeetError):
            _say(str(error))
            return error.exit_code
        hint = "" if debug else "; --debug shows the traceback"
        _say(f"internal error, please report it ({type(error).__name__}: {error}){hint}")
        return 1


def _say(message: str) -> None:
    click.echo(f"parakeetd: {message}", err=True)
