"""`parakeetd cluster`: the same service on a Ray cluster."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakeetd.cli import options
from parakeetd.cluster import require_ray

if TYPE_CHECKING:
    from parakeetd.cluster.ledger import ClusterStanding

log = logging.getLogger(__name__)

ADDRESS = click.option(
    "--address",
    default="",
    metavar="ADDR",
    help="Of the cluster's head, HOST:PORT, or ray://HOST:PORT. Default: the cluster that this machine is part of.",
)


@click.group("cluster")
def command() -> None:
    """Serve on a Ray cluster: many recognisers on many machines, behind one service.

    Needs the extra: pip install 'parakeetd[cluster]', on every machine, with the model.

    \b
    Examples:
      parakeetd cluster deploy --config /etc/parakeetd/config.toml
      parakeetd cluster status
      parakeetd cluster remove
    """


@command.command("deploy")
@ADDRESS
@options.CONFIG
@options.MODEL
@click.option(
    "--models",
    metavar="DIR",
    type=options.PATH,
    help="Folder of models, the same on every machine. Default: $PARAKEETD_MODELS there, or "
    "~/.local/share/parakeetd/models.",
)
def deploy(address: str, config_file: Path | None, model: str | None, models: Path | None) -> None:
    """Deploy by the configuration, or bring what is deployed up to it.

    Table [cluster] says how many replicas, on how many cores and GPUs; the limits of streams are each replica's.
    Replicas are replaced one after the other, and each finishes its streams.

    \b
    Examples:
      parakeetd cluster deploy
      parakeetd cluster deploy --address 10.0.0.5:6379 --model 0.6b-v3
    """
    from parakeetd.cluster.plan import plan
    from parakeetd.config import Paths, read_config

    require_ray()
    config = read_config(config_file, Paths.from_environment())
    if model:
        config = replace(config, model=replace(config.model, name=model))
    planned = plan(config)
    for warning in planned.warnings:
        log.warning("%s", warning)
    from parakeetd.cluster import remote

    with remote.joined(address):
        remote.deploy(planned, models.absolute() if models else None)
        standing = remote.status()
    for line in () if standing is None else lines(standing):
        click.echo(line)


@command.command("status")
@ADDRESS
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, with all that is known.")
def status(address: str, as_json: bool) -> None:
    """Say which replicas there are, where, and how busy they are.

    The exit code is 1 when nothing is deployed, or when it is not running.
    """
    require_ray()
    from parakeetd.cluster import remote

    with remote.joined(address):
        standing = remote.status()
    if standing is None:
        click.echo("{}" if as_json else "nothing is deployed", err=not as_json)
    elif as_json:
        click.echo(json.dumps(standing.as_json(), indent=1, default=str))
    else:
        for line in lines(standing):
            click.echo(line)
    if standing is None or standing.state != "RUNNING":
        raise click.exceptions.Exit(1)


@command.command("remove")
@ADDRESS
def remove(address: str) -> None:
    """Take the service away. Streams have `cluster.drain_seconds` to end."""
    require_ray()
    from parakeetd.cluster import remote

    with remote.joined(address):
        removed = remote.remove()
    click.echo("removed" if removed else "nothing was deployed")


def lines(standing: ClusterStanding) -> Iterator[str]:
    """For people."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(standing.wanted.items()))
    yield f"{standing.state}: {states or 'no replicas'}" + (
        f"; {standing.message}" if standing.message else ""
    )
    yield f"{standing.streams} of {standing.places} streams are open"
    for entry in standing.replicas:
        now = entry.standing
        yield (
            f"replica {entry.replica} at {entry.node} ({entry.node_id[:8]}): "
            f"{now.streams} of {now.max_streams} streams, {entry.taken} taken, {entry.refused} refused, "
            f"{now.resident_bytes / 1e6:.0f} MB; {now.summary}"
        )
    proxies = ", ".join(f"{node[:8]} {state}" for node, state in sorted(standing.proxies.items()))
    yield f"proxies: {proxies or 'none'}"
