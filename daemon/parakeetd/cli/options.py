"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

MODEL = click.option(
    "--model", "model", metavar="NAME", help="Installed model to use; see `parakeetd models`."
)
MODELS = click.option(
    "--models",
    "models",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of model bundles, when it is not yours ($PARAKEETD_MODELS or ~/.local/share/parakeetd/models).",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="auto uses a GPU when one works (default); cpu never; cuda fails without one.",
)
