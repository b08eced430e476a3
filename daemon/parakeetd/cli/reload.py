"""`parakeetd reload`: a new configuration or model for a running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from parakeetd.cli.control import CONFIG, SOCKET, remote


@click.command("reload")
@click.option(
    "--model",
    "model",
    default="",
    metavar="NAME",
    help="The default model from now on, until the daemon ends or reloads. Default: as configured.",
)
@SOCKET
@CONFIG
def command(model: str, socket: str | None, config_file: Path | None) -> None:
    """Have the running daemon read its configuration again, and open anew what has changed in it or on disk.

    No stream ends: what is being recognised is finished by the old model, all later segments go to the new one. Both
    are in memory meanwhile. If anything is wrong, nothing changes, and the exit code tells. SIGHUP does the same.

    \b
    Examples:
      parakeetd reload
      parakeetd reload --model 0.6b-v2
    """
    done = remote(socket, config_file).reload(model)
    for change in done.changes:
        click.echo(change)
    for key in done.needs_restart:
        click.echo(f"{key} has changed and holds from the daemon's next start on")
    if not (done.changes or done.needs_restart):
        click.echo("nothing has changed")
