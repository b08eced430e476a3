"""Converting in a virtual environment that is made for it and removed afterwards: the toolchain takes gigabytes."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from parakeetd.errors import ParakeetError
from parakeetd_convert.claims import Claim, claimed, remove_abandoned
from parakeetd_convert.preflight import check_isolated
from parakeetd_convert.steps import Step
from parakeetd_convert.sums import cache_folder

TORCH_VARIABLE: Final = "PARAKEETD_TORCH"

TORCH: Final = "torch==2.13.0"
"""What pip is asked for first, by its version: a newer one may not be what NeMo works with. Whether it comes with
gigabytes of CUDA libraries is the package index's to say; `PARAKEETD_TORCH` names another."""

_PREFIX: Final = "isolated"
_DISTRIBUTION: Final = "parakeetd"
_PACKAGES: Final = ("parakeetd", "parakeetd_proto", "parakeetd_convert")


class IsolationError(ParakeetError):
    """The throw-away environment cannot be made."""


def convert_isolated(arguments: Sequence[str], step: Step, environment: Mapping[str, str]) -> int:
    """Run `parakeetd-convert ARGUMENTS` in a new virtual environment; its exit code.

    The environment lies in the user's cache folder. A run that dies leaves it there for the next one to remove;
    its children, which may outlive it, inherit the lock on the folder, so that it is not removed under their feet.

    Raises:
        PreflightFailed: this Python or the disk cannot hold one.
        IsolationError: it cannot be made; the message has what pip said.
    """
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IsolationError(f"{cache} cannot be written: {error.strerror}") from error
    remove_dead(cache)
    check_isolated(cache)
    with claimed(cache, _PREFIX) as claim:
        # What pip or torch leave when they are killed lies in the folder that the next run removes.
        scratch = claim.folder / "tmp"
        scratch.mkdir()
        inherited = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
        inherited["TMPDIR"] = str(scratch)
        python = _make(claim, step, inherited, environment.get(TORCH_VARIABLE) or TORCH)
        # -P: nothing in the current folder is taken for a library.
        command = [python, "-P", "-W", "ignore", "-m", "parakeetd_convert", *arguments]
        return subprocess.run(command, env=inherited, pass_fds=(claim.descriptor,), check=False).returncode


def remove_dead(cache: Path) -> None:
    """Remove the environments of runs that died."""
    remove_abandoned(cache, _PREFIX)


def _make(claim: Claim, step: Step, environment: Mapping[str, str], torch: str) -> str:
    folder = claim.folder
    python = str(folder / "venv" / "bin" / "python")
    with step("Making a virtual environment"):
        _run("venv", [sys.executable, "-m", "venv", str(folder / "venv")], environment, claim)
        wheel = pack(folder)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    with step("Installing torch"):
        _run("pip", [*pip, *shlex.split(torch)], environment, claim)
    with step("Installing NeMo and ONNX"):
        _run("pip", [*pip, f"{wheel}[convert]"], environment, claim)
    return python


def _run(tool: str, command: Sequence[str], environment: Mapping[str, str], claim: Claim) -> None:
    done = subprocess.run(
        command, env=environment, pass_fds=(claim.descriptor,), capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["it gave no reason"]
        raise IsolationError(
            f"the environment cannot be made: {tool} says: {errors[-1]}; "
            f"pip's own variables and ${TORCH_VARIABLE} say where it looks (now: {shlex.join(command[-3:])})"
        )


def pack(folder: Path) -> Path:
    """Write the running parakeetd as a wheel into `folder`, so that pip installs just it, with what it needs.

    Layout: the Binary Distribution Format of packaging.python.org.

    Raises:
        IsolationError: parakeetd was not installed by pip, which knows what it needs.
    """
    try:
        installed = metadata.distribution(_DISTRIBUTION)
        described = installed.read_text("METADATA") or ""
    except metadata.PackageNotFoundError:
        raise IsolationError(
            "--isolated needs parakeetd installed as a package: pip install parakeetd"
        ) from None
    name = f"{_DISTRIBUTION}-{installed.version}"
    wheel = folder / f"{name}-py3-none-any.whl"
    tags = "Wheel-Version: 1.0\nGenerator: parakeetd\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = []
    with zipfile.ZipFile(wheel, "w") as archive:
        contents = [
            (f"{name}.dist-info/METADATA", described.encode()),
            (f"{name}.dist-info/WHEEL", tags.encode()),
        ]
        for path, content in (*contents, *_sources()):
            archive.writestr(path, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(content)}\n")
        record.append(f"{name}.dist-info/RECORD,,\n")
        archive.writestr(f"{name}.dist-info/RECORD", "".join(record))
    return wheel


def _sources() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations if spec else None) or ():
            for file in sorted(Path(root).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    yield f"{package}/{file.relative_to(root).as_posix()}", file.read_bytes()
