"""What `parakeetd doctor` looks at. Each check does the real thing: opens a device, reads a bundle, tries a port."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnxruntime

from parakeetd import __version__
from parakeetd.config import Config, Paths, read_config
from parakeetd.errors import BundleError, DeviceError, ParakeetError
from parakeetd.model.bundle import EMBEDDED, find_bundle, installed_names
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, physical_cores, probe


@dataclass(frozen=True, slots=True)
class Check:
    subject: str
    state: Literal["ok", "note", "problem"]
    """`note` is worth knowing and stops nothing."""
    finding: str


def diagnose(paths: Paths, config_file: Path | None, models: Path | None) -> list[Check]:
    """All checks, in the order in which a person would look."""
    paths = replace(paths, models=models) if models else paths
    versions = (
        f"parakeetd {__version__}, Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}"
    )
    checks = [Check("versions", "ok", versions)]
    config = Config()
    try:
        config = read_config(config_file, paths)
    except ParakeetError as error:
        checks.append(Check("configuration", "problem", str(error)))
    else:
        used = config_file or paths.config_file
        checks.append(
            Check("configuration", "ok", f"{used}{'' if used.is_file() else ' (absent: defaults)'}")
        )
    checks += [_device("cpu"), _device("cuda", required=config.device.choice == "cuda")]
    checks += _models(paths)
    checks += _addresses(config.server.listen or paths.default_listen)
    if paths.socket is None:
        finding = "$XDG_RUNTIME_DIR is not set, so there is no default unix socket; name one with --listen unix:PATH"
        checks.append(Check("unix socket", "note", finding))
    return checks


def _device(device: Device, *, required: bool = True) -> Check:
    try:
        probe(device)
    except DeviceError as error:
        return Check(f"device {device}", "problem" if required else "note", f"not usable: {error.reason}")
    finding = f"works, {physical_cores()} physical cores" if device == "cpu" else "works"
    return Check(f"device {device}", "ok", finding)


def _models(paths: Paths) -> Iterator[Check]:
    names = installed_names(paths.models)
    for name in names:
        try:
            bundle = find_bundle(name, paths.models)
            Recognizer.open(bundle, device="cpu")
        except (BundleError, DeviceError) as error:
            yield Check(f"model {name}", "problem", str(error))
        else:
            yield Check(f"model {name}", "ok", f"opens and matches its checksums ({bundle.path})")
    if names == [EMBEDDED.name]:
        yield Check("models", "note", f"no full model in {paths.models}; see: parakeetd-convert list")


def _addresses(addresses: tuple[str, ...]) -> Iterator[Check]:
    for address in addresses:
        if _accepts(address):
            yield Check(f"address {address}", "note", "something listens there already, perhaps this daemon")
        else:
            yield Check(f"address {address}", "ok", "free")


def _accepts(address: str) -> bool:
    """Whether a connection to this address is taken."""
    family, target = _target(address)
    with socket.socket(family, socket.SOCK_STREAM) as probing:
        probing.settimeout(1.0)
        try:
            probing.connect(target)
        except OSError:
            return False
    return True


def _target(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    return socket.AF_INET6 if ":" in host else socket.AF_INET, (
        host.strip("[]"),
        int(port) if port.isdigit() else 0,
    )
