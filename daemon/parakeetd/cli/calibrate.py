"""`parakeetd calibrate`: measure the devices, for the router."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click

from parakeetd.cli import options
from parakeetd.cli.output import write_atomically
from parakeetd.cli.progress import work_bar
from parakeetd.cli.tables import by_length
from parakeetd.config import DeviceChoice, Paths, default_model, read_config
from parakeetd.engines import recognizers
from parakeetd.errors import CalibrationError, InputError
from parakeetd.measure.decoding import SECONDS, SHARE, measure_decoding
from parakeetd.measure.machine import identity_of
from parakeetd.measure.plot import crossover_plot
from parakeetd.measure.timing import MemoryGuard, Plan, Timed, measure
from parakeetd.model.bundle import find_bundle, installed_names
from parakeetd.model.forms import Decoding
from parakeetd.model.sessions import Device
from parakeetd.routing.calibration import Calibration, in_words, merged
from parakeetd.routing.calibration_file import read_calibration, table_file, write_calibration

log = logging.getLogger(__name__)


@click.command("calibrate")
@options.MODEL
@options.MODELS
@options.DEVICE
@options.CONFIG
@options.SECONDS
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as a JSON object.")
@click.option(
    "--plot",
    metavar="FILE.svg",
    type=options.PATH,
    help="Where to draw the curves. Default: beside the table.",
)
def command(
    model: str | None,
    models: Path | None,
    device: str | None,
    config_file: Path | None,
    seconds: int,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Measure how long each device takes for segments of 0.5 to 20 s, alone and in batches, and which form of the
    decoder is fastest there.

    The daemon sends each segment to the device that is predicted to have it first, and predicts by what was
    measured here. The table holds for this machine, model, precision and version; `parakeetd doctor` says when
    it is out of date. With a GPU and no table the daemon measures a short one when it has nothing else to do.
    Leave the machine alone meanwhile.

    \b
    Examples:
      parakeetd calibrate
      parakeetd calibrate --model 0.6b-v3 --plot crossover.svg
      parakeetd calibrate --seconds 10 --json | jq .crossover_seconds
    """
    paths = Paths.from_environment()
    config = read_config(config_file, paths)
    folder = models or paths.models
    bundle = find_bundle(model or config.model.name or default_model(installed_names(folder)), folder)
    if plot is not None and not os.access(plot.parent, os.W_OK):
        raise InputError(f"cannot write {plot}: its folder is absent or may not be written into")
    settings = replace(config.device, choice=cast(DeviceChoice, device)) if device else config.device
    precision = None if settings.precision == "auto" else settings.precision
    usable = list(recognizers(bundle, settings))
    devices: list[Device] = ["cuda"] if device == "cuda" else usable
    identity = identity_of(bundle, devices, threads=settings.threads, precision=precision)
    with work_bar(f"choosing decoders of {bundle.name}") as tell:
        decoding = measure_decoding(
            bundle,
            devices,
            seconds=SHARE * seconds,
            threads=settings.threads,
            precision=precision,
            tell=tell,
        )
    # Times are those of the decoders that the daemon will use.
    factories = recognizers(bundle.decoded_as(decoding), settings)
    with work_bar(f"measuring {bundle.name}") as tell:
        engines = {name: factories[name]() for name in devices}
        points = measure(Timed(engines), devices, Plan.within(seconds), fits=MemoryGuard(), tell=tell)
    measured = Calibration(identity, points, datetime.now(UTC).isoformat(timespec="seconds"), decoding)
    path = table_file(paths.calibration, bundle.name)
    whole = _with_other_devices(path, measured)
    write_calibration(path, whole)
    drawing = plot or path.with_suffix(".svg")
    write_atomically(drawing, crossover_plot(whole).decode())
    if as_json:
        click.echo(
            json.dumps({**dataclasses.asdict(whole), "crossover_seconds": whole.crossover()}, indent=1)
        )
        return
    click.echo(f"{bundle.name} on {identity.processor}, {identity.cores} cores; {_devices(whole)}\n")
    for line in by_length(whole.points, lambda point: f"{point.median_seconds * 1e3:.1f} ms"):
        click.echo(line)
    for line in decoders_in_words(whole.decoding):
        click.echo(line)
    click.echo(f"\n{in_words(whole)}\nwritten to {path}\ndrawn in {drawing}")


def _with_other_devices(path: Path, measured: Calibration) -> Calibration:
    """What was measured, and the times of devices that were left out this time, as far as they still hold."""
    try:
        older = read_calibration(path)
    except CalibrationError as error:
        log.info("%s; it is replaced", error)
        return measured
    return measured if older is None else merged(older, measured)


def decoders_in_words(decoding: Mapping[str, Mapping[str, Decoding]]) -> Iterator[str]:
    """A line for each device: which form of the decoder serves from which batch size on."""
    for name, record in decoding.items():
        sizes = sorted(record, key=int)
        forms = ", ".join(
            f"{record[size].form}"
            + (f" ({record[size].look_ahead} frames)" if record[size].form == "steps" else "")
            + f" {record[size].milliseconds:.1f} ms for {size}"
            for size in sizes
        )
        yield f"decoder on {name}, {SECONDS:g} s of speech: {forms}"


def _devices(calibration: Calibration) -> str:
    return "; ".join(
        f"{item.device} {item.precision}, {item.hardware or f'{item.threads} threads'}"
        for item in calibration.identity.devices
    )
