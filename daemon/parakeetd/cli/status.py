"""`parakeetd status`: how a running daemon stands."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import click

from parakeetd.cli.control import CONFIG, SOCKET, remote
from parakeetd.rpc.standing import DeviceStanding, ModelStanding, Standing


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, with all that is known.")
@SOCKET
@CONFIG
def command(as_json: bool, socket: str | None, config_file: Path | None) -> None:
    """Say what the running daemon serves, on which devices, and how busy it is.

    The exit code is 1 when there is no daemon, or when it is not serving: it loads or ends.

    \b
    Examples:
      parakeetd status
      parakeetd status --json | jq '.models[].devices[] | {device, healthy, failure}'
    """
    standing = remote(socket, config_file).status()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(standing), indent=1, default=str))
    else:
        for line in lines(standing):
            click.echo(line)
    if standing.state != "serving":
        raise click.exceptions.Exit(1)


def lines(standing: Standing) -> Iterator[str]:
    """For people."""
    yield standing.summary
    memory = f"{standing.resident_bytes / 1e6:.0f} MB"
    yield (
        f"parakeetd {standing.version}, process {standing.pid}, up {_duration(standing.uptime_seconds)}, {memory}"
    )
    yield f"listens on {', '.join(standing.addresses)}"
    yield f"configuration {standing.configuration or '(none: defaults)'}"
    yield f"{standing.streams} of {standing.max_streams} streams are open"
    for model in standing.models:
        yield from _model(model)


def _model(model: ModelStanding) -> Iterator[str]:
    default = ", the default" if model.is_default else ""
    yield f"model {model.name}{default}: {_count(model.streams, 'stream')}, {model.queued} waiting; {model.path}"
    for device in model.devices:
        yield f"  {device.device:5} {', '.join(_device(device))}"


def _device(device: DeviceStanding) -> Iterator[str]:
    yield {"closed": "at rest"}.get(device.engine, device.engine)
    if device.engine == "open":
        yield f"computes {_count(device.running, 'segment')}"
        yield f"{device.ratio:.2g} x the predicted time"
    if device.pid:
        yield f"process {device.pid}"
    if device.memory_bytes:
        yield f"{device.memory_bytes / 1e6:.0f} MB of its memory"
    if device.failures:
        yield f"failed {_count(device.failures, 'time')}"
    if device.failure:
        yield f"{'' if device.healthy else 'left alone for now: '}{device.failure}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    """The two largest units: `3 d 4 h`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while len(units) > 1 and not units[0][0]:
        del units[0]
    return " ".join(f"{number} {unit}" for number, unit in units[:2])
