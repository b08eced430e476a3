"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path

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
