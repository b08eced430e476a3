"""`parakeetd models`: what is installed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from parakeetd.cli import options
from parakeetd.config import Paths
from parakeetd.errors import BundleError
from parakeetd.model.bundle import find_bundle, installed_names


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list: name, path, precisions and more.")
@click.option("-v", "--verbose", is_flag=True, help="Also print where each comes from and what was measured.")
@options.MODELS
def command(as_json: bool, verbose: bool, models: Path | None) -> None:
    """List the installed models, with their precisions, sizes and languages.

    A model that is not whole is listed as broken, with what is wrong; `parakeetd doctor` reads every byte.

    \b
    Examples:
      parakeetd models
      parakeetd models --verbose
      parakeetd models --json | jq -r '.[].name'
    """
    folder = models or Paths.from_environment().models
    rows = [_row(name, folder) for name in installed_names(folder)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        if "error" in row:
            click.echo(f"{row['name']:12} broken: {row['error']}")
            continue
        facts = f"{', '.join(row['precisions'])}  {row['bytes'] / 1e6:.0f} MB  {', '.join(row['languages'])}"
        click.echo(f"{row['name']:12} {facts}  {row['path']}")
        if verbose:
            for line in _measured(row):
                click.echo(f"    {line}")


def _measured(row: dict[str, Any]) -> Iterator[str]:
    """What is known of a model, a line each: source, sizes, how close to NeMo it is, how it is decoded."""
    yield f"made from {row['source']} (sha256 {row['source_sha256']})"
    head = "a CTC head" if row["ctc"] else "no CTC head"
    yield f"{row['layers']} layers, {row['vocabulary']} tokens, {row['mels']} mels, {head}"
    for name, value in row["verification"].items():
        if isinstance(value, dict):
            yield f"{name}: " + ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
        else:
            yield f"{name}: {_shown(value)}"
    for device, by_batch in row["decoding"].items():
        forms = (f"{_form(decoding)} from {rows}" for rows, decoding in by_batch.items())
        yield f"decoding on {device}, by pieces at once: {', '.join(forms)}"
    if not row["decoding"]:
        yield "decoding: not measured, the daemon's own choice"


def _form(decoding: dict[str, Any]) -> str:
    ahead = f" {decoding['look_ahead']} frames ahead" if decoding["form"] == "steps" else ""
    return f"{decoding['form']}{ahead} ({decoding['milliseconds']:.3g} ms)"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _row(name: str, folder: Path) -> dict[str, Any]:
    try:
        bundle = find_bundle(name, folder)
    except BundleError as error:
        return {"name": name, "path": str(error.path), "precisions": [], "error": str(error)}
    manifest = bundle.manifest
    return {
        "name": name,
        "path": str(bundle.path),
        "precisions": list(manifest.precisions),
        "languages": list(manifest.languages),
        "bytes": bundle.bytes_on_disk,
        "source": manifest.source.file,
        "source_sha256": manifest.source.sha256,
        "layers": manifest.architecture.layers,
        "vocabulary": manifest.architecture.vocabulary,
        "mels": manifest.architecture.mels,
        "ctc": manifest.architecture.ctc,
        "verification": dict(manifest.verification),
        "decoding": {
            device: {rows: dataclasses.asdict(decoding) for rows, decoding in by_batch.items()}
            for device, by_batch in manifest.decoding.items()
        },
    }
