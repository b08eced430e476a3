"""`parakeetd doctor`: what works on this machine, what does not, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from parakeetd.cli import options
from parakeetd.config import Paths
from parakeetd.diagnosis import Check, diagnose

MARK = {"ok": "ok   ", "note": "note ", "problem": "WRONG"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--config", "config_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@options.MODELS
def command(as_json: bool, config_file: Path | None, models: Path | None) -> None:
    """Check devices, models, configuration and addresses. Exit code 1 when something is wrong."""
    checks = diagnose(Paths.from_environment(), config_file, models)
    if as_json:
        click.echo(json.dumps([_json(check) for check in checks], indent=1))
    else:
        for check in checks:
            click.echo(f"{MARK[check.state]} {check.subject}: {check.finding}")
    if any(check.state == "problem" for check in checks):
        raise click.exceptions.Exit(1)


def _json(check: Check) -> dict[str, Any]:
    return {"subject": check.subject, "state": check.state, "finding": check.finding}
