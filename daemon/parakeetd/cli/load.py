"""`parakeetd load`: another model for a running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from parakeetd.cli.control import CONFIG, SOCKET, remote


@click.command("load")
@click.argument("name")
@SOCKET
@CONFIG
def command(name: str, socket: str | None, config_file: Path | None) -> None:
    """Have the running daemon open an installed model too, for clients that ask for it by name.

    It is there until it is unloaded or the daemon ends. Clients that ask for no model, or for one that is not loaded,
    get the default.

    \b
    Examples:
      parakeetd load 0.6b-v2
    """
    model = remote(socket, config_file).load(name)
    click.echo(
        f"model {model.name} serves beside the default" if not model.is_default else f"{name} is the default"
    )
