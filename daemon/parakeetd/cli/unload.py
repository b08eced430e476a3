"""`parakeetd unload`: one model less for a running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from parakeetd.cli.control import CONFIG, SOCKET, remote


@click.command("unload")
@click.argument("name")
@SOCKET
@CONFIG
def command(name: str, socket: str | None, config_file: Path | None) -> None:
    """Have the running daemon close a model that was loaded, and give back its memory.

    Streams that use it go on with the default model.

    \b
    Examples:
      parakeetd unload 0.6b-v2
    """
    remote(socket, config_file).unload(name)
    click.echo(f"model {name} is unloaded")
