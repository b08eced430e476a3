"""What the commands share that speak to a running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from parakeetd.cli import options
from parakeetd.config import Config, Paths, read_config
from parakeetd.errors import InputError
from parakeetd.rpc.remote_control import RemoteControl

SOCKET = click.option(
    "--socket",
    metavar="ADDR",
    help="The daemon's unix socket, as it prints it. Default: as configured, or "
    "unix:$XDG_RUNTIME_DIR/parakeetd/parakeetd.sock.",
)
CONFIG = options.CONFIG


def socket_address(socket: str | None, config: Config, paths: Paths) -> str | None:
    """The address that was named, or else is configured, or else is usual; None when there is none of these."""
    if socket:
        return f"unix:{Path(socket.removeprefix('unix:')).absolute()}"
    configured = (address for address in config.server.listen if address.startswith("unix:"))
    return next(configured, None) or (f"unix:{paths.socket}" if paths.socket else None)


def remote(socket: str | None, config_file: Path | None) -> RemoteControl:
    """The daemon that is meant.

    Raises:
        InputError: it is not known where it listens; ConfigError: the configuration cannot be used.
    """
    paths = Paths.from_environment()
    config = Config() if socket else read_config(config_file, paths)
    if (address := socket_address(socket, config, paths)) is None:
        raise InputError("$XDG_RUNTIME_DIR is not set: name the daemon's socket with --socket unix:PATH")
    return RemoteControl(address)
