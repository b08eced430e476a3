"""`parakeetd bench`: what this machine does, for people."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import click

from parakeetd.cli import options
from parakeetd.cli.output import write_atomically
from parakeetd.cli.progress import work_bar
from parakeetd.cli.tables import aligned, by_length
from parakeetd.config import DeviceChoice, DeviceSettings, Paths, default_model, read_config
from parakeetd.engines import recognizers
from parakeetd.errors import InputError
from parakeetd.measure.machine import identity_of, software
from parakeetd.measure.plot import NAMES, speed_plot
from parakeetd.measure.process import Footprint, measure_daemon, median_footprint
from parakeetd.measure.stages import Stages, measure_stages
from parakeetd.measure.timing import MemoryGuard, Plan, Timed, measure
from parakeetd.model.bundle import Bundle, find_bundle, installed_names
from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Identity, Point

STAGES_SECONDS = 10.0
"""Length of the segment whose stages are timed."""

STARTS = 3
"""Daemons that are started for each device."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured."""

    identity: Identity
    software: str
    points: tuple[Point, ...]
    stages: Mapping[Device, Stages]
    daemons: Mapping[Device, Footprint]


@click.command("bench")
@options.MODEL
@options.MODELS
@options.DEVICE
@options.CONFIG
@options.SECONDS
@click.option("--json", "json_file", metavar="FILE", type=options.PATH, help="Also write every figure there.")
@click.option("--plot", metavar="FILE.svg", type=options.PATH, help="Also draw the speeds there.")
def command(
    model: str | None,
    models: Path | None,
    device: str | None,
    config_file: Path | None,
    seconds: int,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Measure this machine with a model: speed by length, batch and device, and what the daemon costs.

    RTFx is how many seconds of audio are recognised in a second. Each device is measured warm, with speech, and
    the medians count. Then `parakeetd serve` is started, let recognise the shipped clips, and ended, three times.
    Nothing is kept; what the router goes by is measured by `parakeetd calibrate`.

    \b
    Examples:
      parakeetd bench
      parakeetd bench --model 0.6b-v3 --device cpu --seconds 20
      parakeetd bench --json bench.json --plot bench.svg
    """
    paths = Paths.from_environment()
    config = read_config(config_file, paths)
    folder = models or paths.models
    bundle = find_bundle(model or config.model.name or default_model(installed_names(folder)), folder)
    settings = replace(config.device, choice=cast(DeviceChoice, device)) if device else config.device
    for file in (json_file, plot):
        # Said now: after minutes of measuring nobody wants to hear it.
        if file is not None and not os.access(file.parent, os.W_OK):
            raise InputError(f"cannot write {file}: its folder is absent or may not be written into")
    serve = ["--model", bundle.name, "--models", str(folder), *_config(config_file)]
    report = _measured(bundle, settings, seconds, serve, only_gpu=device == "cuda")
    for line in _lines(report):
        click.echo(line)
    if json_file is not None:
        write_atomically(json_file, json.dumps(_json(report), indent=1) + "\n")
    if plot is not None:
        write_atomically(plot, speed_plot(bundle.name, report.points, rtfx).decode())


def rtfx(point: Point) -> float:
    """Seconds of audio that are recognised in a second."""
    return point.seconds * point.batch / point.median_seconds


def _measured(
    bundle: Bundle, settings: DeviceSettings, seconds: int, serve: list[str], *, only_gpu: bool
) -> Report:
    factories = recognizers(bundle, settings)
    if only_gpu:
        factories = {"cuda": factories["cuda"]}
    precision = None if settings.precision == "auto" else settings.precision
    identity = identity_of(bundle, list(factories), threads=settings.threads, precision=precision)
    before = software()
    # Daemons first, while this process does not hold the model's memory itself.
    daemons = {
        device: median_footprint(STARTS, partial(measure_daemon, [*serve, "--device", device]))
        for device in factories
    }
    with work_bar(f"measuring {bundle.name}") as tell:
        engines = {device: factory() for device, factory in factories.items()}
        points = measure(Timed(engines), list(engines), Plan.within(seconds), fits=MemoryGuard(), tell=tell)
        stages = {device: measure_stages(engine, STAGES_SECONDS) for device, engine in engines.items()}
    return Report(identity, before, points, stages, daemons)


def _lines(report: Report) -> Iterator[str]:
    identity = report.identity
    yield f"{identity.bundle} on {identity.processor}, {identity.cores} cores, {identity.memory_gib} GiB"
    for item in identity.devices:
        yield f"{NAMES[item.device]}: {item.precision}, {item.hardware or f'{item.threads} threads'}"
    yield report.software
    yield "\nRTFx: seconds of audio recognised in a second"
    yield from by_length(report.points, lambda point: f"{rtfx(point):.1f}")
    yield "\ntime of one batch"
    yield from by_length(report.points, lambda point: f"{point.median_seconds * 1e3:.1f} ms")
    yield f"\nwhere the time of {STAGES_SECONDS:g} s goes"
    rows = [["device", "features", "encoder", "decoder", "together"]]
    for device, stages in report.stages.items():
        whole = stages.features + stages.encoder + stages.decoder
        shares = [f"{share:.1%}" for share in stages.shares]
        rows.append([NAMES[device], *shares, f"{whole * 1e3:.1f} ms"])
    yield from aligned(rows)
    yield "\nparakeetd serve"
    rows = [["device", "ready after", "RSS when ready", "after the clips"]]
    for device, daemon in report.daemons.items():
        memory = [f"{size / 1e6:.0f} MB" for size in (daemon.resident_ready, daemon.resident_after)]
        rows.append([NAMES[device], f"{daemon.ready_seconds:.2f} s", *memory])
    yield from aligned(rows)


def _json(report: Report) -> dict[str, Any]:
    """Every figure; times in seconds, memory in bytes."""
    whole = dataclasses.asdict(report)
    for row, point in zip(whole["points"], report.points, strict=True):
        row["rtfx"] = round(rtfx(point), 3)
    return whole


def _config(file: Path | None) -> list[str]:
    return [] if file is None else ["--config", str(file)]
