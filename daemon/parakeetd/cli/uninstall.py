"""`parakeetd uninstall`: take the service away again."""

from __future__ import annotations

import click

from parakeetd.cli.install import chosen_places
from parakeetd.setup import uninstall


@click.command("uninstall")
@click.option("--system", is_flag=True, help="The machine's service instead of this user's. Needs root.")
@click.option("--purge", is_flag=True, help="Remove its models, measurements and configuration too.")
def command(system: bool, purge: bool) -> None:
    """Stop the service and remove its unit. Models, measurements and configuration stay.

    \b
    Examples:
      parakeetd uninstall
      sudo /opt/parakeetd/bin/parakeetd uninstall --system --purge
    """
    uninstall(chosen_places(system=system), click.echo, purge=purge)
