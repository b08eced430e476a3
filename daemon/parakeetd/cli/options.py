"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

PATH = click.Path(path_type=Path, readable=False)
"""Not looked at here: what reads it says what is wrong with it, and of several files the others still count."""

MODEL = click.option(
    "--model",
    "model",
    metavar="NAME",
    help="Installed model to use; see `parakeetd models`. Default: the only one, or the embedded demo model.",
)
MODELS = click.option(
    "--models",
    "models",
    metavar="DIR",
    type=PATH,
    help="Folder of models. Default: $PARAKEETD_MODELS, or ~/.local/share/parakeetd/models.",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="auto uses a GPU when one works; cpu never; cuda fails without one. Default: auto.",
)
CONFIG = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=PATH,
    help="Configuration (TOML). Default: ~/.config/parakeetd/config.toml, if there is one.",
)
SECONDS = click.option(
    "--seconds",
    type=click.IntRange(1, 3600),
    default=60,
    show_default=True,
    metavar="N",
    help="About how long to measure; below 20 s, fewer lengths and batches are.",
)

REACH = (
    click.option(
        "--ca",
        metavar="FILE",
        type=PATH,
        help="PEM of what signed the server's certificate, or the certificate itself: the connection is encrypted.",
    ),
    click.option("--token-file", metavar="FILE", type=PATH, help="Holds the token that the server wants."),
    click.option(
        "--server-name",
        default="",
        metavar="NAME",
        help="Name in the server's certificate, where it is not the address.",
    ),
    click.option(
        "--certificate", metavar="FILE", type=PATH, help="PEM of our own, for servers that want one."
    ),
    click.option("--key", metavar="FILE", type=PATH, help="Its key."),
)
"""How to get in at another daemon; `rpc.reach.read_reach` reads what the files hold."""

SERVER = (
    click.option("--server", metavar="ADDR", help="HOST:PORT or unix:PATH of a daemon that runs already."),
    *REACH,
)
"""The same, and where it is."""


Command = TypeVar("Command", bound=Callable[..., object])


def server(command: Command) -> Command:
    """Give a command the options of `SERVER`."""
    return _with(command, SERVER)


def reach(command: Command) -> Command:
    """Give a command the options of `REACH`."""
    return _with(command, REACH)


def _with(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
