"""`parakeetd doctor`: what works on this machine, what does not, and why."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from parakeetd.cli import options
from parakeetd.config import Paths
from parakeetd.diagnosis import diagnose

MARK = {"ok": "ok   ", "note": "note ", "problem": "WRONG"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of {subject, state, finding}.")
@options.CONFIG
@options.MODELS
def command(as_json: bool, config_file: Path | None, models: Path | None) -> None:
    """Check devices, models, configuration and addresses.

    Each check does the real thing: it opens a CPU and a CUDA session, reads every byte of every model, runs the one
    that would be served, and tries the addresses. "ok" is fine, "note" is worth knowing and stops nothing, "WRONG"
    has to be repaired and makes the exit code 1.

    \b
    Examples:
      parakeetd doctor
      parakeetd doctor --json | jq -r '.[] | select(.subject == "device cuda") | .finding'
    """
    checks = []
    for check in diagnose(Paths.from_environment(), config_file, models):
        checks.append(check)
        if not as_json:
            # At once: a large model takes its time.
            click.echo(f"{MARK[check.state]} {check.subject}: {check.finding}")
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=1))
    if any(check.state == "problem" for check in checks):
        raise click.exceptions.Exit(1)
