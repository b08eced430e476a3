"""`parakeetd install`: run as a service of systemd."""

from __future__ import annotations

import os

import click

from parakeetd.cli import options
from parakeetd.config import Paths, moving_variables
from parakeetd.errors import InputError
from parakeetd.setup import Places, Wishes, install, system_places, user_places


@click.command("install")
@click.option(
    "--system", is_flag=True, help="For the whole machine instead of this user: a server. Needs root."
)
@click.option(
    "--model",
    metavar="NAME",
    help="Model to serve, converted first if it is not installed. Default: the configured or the only one.",
)
@click.option("--no-calibrate", is_flag=True, help="Do not measure the devices.")
@options.SECONDS
def command(system: bool, model: str | None, no_calibrate: bool, seconds: int) -> None:
    """Install the daemon as a service: model, measurement, configuration and unit, until it is ready.

    For this user by default; it runs while the user is logged in, or always after `loginctl enable-linger`.
    With --system for all users, as a user of its own that sees nothing of the machine but what it needs.
    What is as it should be is left alone, so it may be run again, and is to be after an upgrade.

    \b
    Examples:
      parakeetd install --model 0.6b-v3
      sudo /opt/parakeetd/bin/parakeetd install --system --model 0.6b-v3
    """
    wishes = Wishes(model=model, calibrate=not no_calibrate, seconds=seconds)
    install(chosen_places(system=system), wishes, click.echo)


def chosen_places(*, system: bool) -> Places:
    """
    Raises:
        InputError: who calls this may not.
    """
    if not system:
        return user_places(Paths.from_environment(), moving_variables())
    if os.geteuid() != 0:
        raise InputError("--system changes the whole machine; run it as root, for example with sudo")
    return system_places()
