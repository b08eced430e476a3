"""What `parakeetd doctor` looks at. Each check does the real thing: opens a device, runs a model, tries a port."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from parakeetd import __version__
from parakeetd.config import Config, DeviceSettings, Paths, read_config
from parakeetd.diagnosis.adapters import adapter_checks
from parakeetd.diagnosis.addresses import address_check
from parakeetd.diagnosis.calibration import calibration_checks
from parakeetd.diagnosis.check import Check
from parakeetd.diagnosis.daemon import daemon_checks
from parakeetd.diagnosis.gpu import (
    gpu_check,
    installed_runtime,
    plugged_in_cards,
    runtime_check,
)
from parakeetd.diagnosis.libraries import installed_libraries, library_checks
from parakeetd.diagnosis.models import model_checks
from parakeetd.errors import DeviceError, ParakeetError
from parakeetd.measure.driver import installed_driver
from parakeetd.model.sessions import Device, physical_cores, probe

__all__ = ["Check", "diagnose"]


def diagnose(paths: Paths, config_file: Path | None, models: Path | None) -> Iterator[Check]:
    """All checks, in the order in which a person would look, each when it is done."""
    paths = replace(paths, models=models) if models else paths
    yield Check("versions", "ok", f"parakeetd {__version__}, Python {platform.python_version()}")
    config, check = _configuration(paths, config_file)
    yield check
    runtime = installed_runtime()
    yield runtime_check(runtime)
    cpu = _device("cpu", f"works, {physical_cores()} physical cores", required=True)
    yield cpu
    driver = installed_driver()
    yield gpu_check(plugged_in_cards(), driver, runtime)
    yield from library_checks(installed_libraries(os.environ), driver, runtime)
    cuda = _device("cuda", "works", required=config.device.choice == "cuda")
    yield cuda
    yield routing_check(config.device, cuda_works=cuda.state == "ok")
    used: list[Device] = ["cpu"] if cpu.state == "ok" else []
    if cuda.state == "ok" and config.device.choice != "cpu":
        used.append("cuda")
    yield from calibration_checks(paths, config, used)
    yield from model_checks(paths.models, config.model.name, used)
    addresses = config.server.listen or paths.default_listen
    for address in addresses:
        yield address_check(address, config.access)
    yield from adapter_checks(config.adapters, config.access)
    yield from daemon_checks(next((address for address in addresses if address.startswith("unix:")), None))
    if paths.socket is None and not config.server.listen:
        finding = "$XDG_RUNTIME_DIR is not set, so there is none by default; name one with --listen unix:PATH"
        yield Check("unix socket", "note", finding)


def routing_check(settings: DeviceSettings, *, cuda_works: bool) -> Check:
    """Which segments go where: a GPU that works and stays idle has its reason here."""
    if settings.choice == "cpu":
        finding = "all segments go to the CPU: device.choice is cpu"
        return Check("routing", "note" if cuda_works else "ok", finding)
    if not cuda_works:
        return Check("routing", "ok", "all segments go to the CPU")
    if settings.choice == "cuda":
        return Check("routing", "ok", "all segments go to the GPU; the CPU stands in when it fails")
    if settings.threshold_seconds is None:
        finding = "each segment goes to the device that is predicted to have it first"
        return Check("routing", "ok", finding)
    finding = (
        f"segments from {settings.threshold_seconds:g} s go to the GPU, shorter ones to the CPU "
        "(device.threshold_seconds; without it, to the device that is predicted to have it first)"
    )
    return Check("routing", "ok", finding)


def _configuration(paths: Paths, file: Path | None) -> tuple[Config, Check]:
    """The configuration, or the defaults when it cannot be used, and what there is to say about it."""
    try:
        config = read_config(file, paths)
    except ParakeetError as error:
        return Config(), Check("configuration", "problem", str(error))
    used = file or paths.config_file
    return config, Check("configuration", "ok", f"{used}{'' if used.exists() else ' (absent: defaults)'}")


def _device(device: Device, finding: str, *, required: bool) -> Check:
    try:
        probe(device)
    except DeviceError as error:
        return Check(f"device {device}", "problem" if required else "note", f"not usable: {error.reason}")
    return Check(f"device {device}", "ok", finding)
