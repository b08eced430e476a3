"""A Debian of its own, booted with systemd, in which parakeetd is installed. Needs root and systemd-nspawn.

Never the host's own root: what systemd does at a start (its rules for /tmp, for one) would be done to the host.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "libnss-systemd"),
    *("polkitd", "python3", "python3-venv", "ca-certificates", "procps"),
)
INSTALLED = "/opt/parakeetd"
"""The virtual environment in the container."""

BOOT_SECONDS = 120.0
COMMAND_SECONDS = 300.0


class ContainerError(Exception):
    """The container cannot be made or does not start."""


def missing() -> str | None:
    """What is not here that a container needs; None when all is."""
    if os.geteuid() != 0:
        return "a container needs root"
    for command, package in (
        ("systemd-nspawn", "systemd-container"),
        ("debootstrap", "debootstrap"),
        ("nsenter", "util-linux"),
    ):
        if shutil.which(command) is None:
            return f"{command} is missing: apt-get install {package}"
    return None


def make_root(folder: Path) -> None:
    """A Debian with systemd and Python, unless it is there. About a minute, and a download of 150 MB."""
    if (folder / "usr/bin/python3").exists() and (folder / "usr/lib/systemd/systemd").exists():
        return
    if folder.resolve() == Path("/"):
        raise ContainerError("refused: the container's root would be the host's")
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(folder)]
    _run(command)


def install_into(folder: Path, wheels: Path, source: Path = ROOT) -> None:
    """Install the parakeetd of a source tree there, with its dependencies as wheels in `wheels`, fetched once."""
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.glob("parakeetd-*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # The CPU's package is a tenth of the other's size and answers to the same import.
    wanted = [line for line in project["dependencies"] if not line.startswith("onnxruntime")]
    if not list(wheels.glob("onnxruntime-*.whl")):
        _run([*pip, "onnxruntime>=1.23", *wanted])
    _run([*pip, "--no-deps", "--no-build-isolation", str(source)])
    if not (folder / INSTALLED[1:] / "bin/pip").exists():
        _run(["chroot", str(folder), "python3", "-m", "venv", INSTALLED])
    (version,) = (folder / INSTALLED[1:] / "lib").glob("python3.*")
    site = version / "site-packages"
    done = {path.name.partition("-")[0].lower() for path in site.glob("*.dist-info")}
    new = [
        str(w) for w in wheels.glob("*.whl") if w.name.partition("-")[0].lower() not in done - {"parakeetd"}
    ]
    inside = folder / "tmp/wheels"
    inside.mkdir(exist_ok=True)
    for wheel in new:
        shutil.copy(wheel, inside)
    names = [f"/tmp/wheels/{Path(wheel).name}" for wheel in new]
    install = [f"{INSTALLED}/bin/pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall"]
    _run(["chroot", str(folder), *install, *names])
    shutil.rmtree(inside)


@dataclass(frozen=True)
class Booted:
    """A container whose systemd runs."""

    leader: int
    """Its first process, as the host numbers it."""

    def run(
        self, *words: str, stdin: str = "", check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root.

        Raises:
            ContainerError: it failed and `check` is set.
        """
        settings = {
            "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        enter = ["nsenter", "--target", str(self.leader), "--all", "--root", "--wdns=/"]
        set_words = [f"{name}={value}" for name, value in settings.items()]
        command = [*enter, "env", "-i", *set_words, *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        if check and done.returncode:
            raise ContainerError(f"{' '.join(words)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        said = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).stdout
        return dict(line.partition("=")[::2] for line in said.splitlines())


@contextmanager
def booted(folder: Path) -> Iterator[Booted]:
    """The container, from its start to its end; what it writes is forgotten."""
    if folder.resolve() == Path("/"):
        raise ContainerError("refused: the container's root would be the host's")
    command = ["systemd-nspawn", "--quiet", f"--directory={folder}", "--boot", "--volatile=overlay"]
    command += ["--register=no", "--keep-unit", "--private-network", "--console=pipe"]
    command += ["--machine=parakeetd-boot", "--setenv=LANG=C.UTF-8"]
    log = folder.parent / "console.log"
    with log.open("wb") as console:
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        container = Booted(_leader(nspawn))
        _wait_for_start(container, nspawn)
        yield container
    finally:
        # Its systemd takes this for an orderly end.
        nspawn.send_signal(signal.SIGTERM)
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline and nspawn.poll() is None:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.partition(":\t")[::2] for line in status.read_text().splitlines())
            except (OSError, UnicodeDecodeError):
                continue
            if fields.get("NSpid", "").split()[1:] == ["1"] and _descends(int(fields["Pid"]), nspawn.pid):
                return int(fields["Pid"])
        time.sleep(0.1)
    raise ContainerError("the container did not start")


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def _wait_for_start(container: Booted, nspawn: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    state = ""
    while time.monotonic() < deadline and nspawn.poll() is None:
        done = container.run("systemctl", "is-system-running", check=False)
        state = done.stdout.strip() or done.stderr.strip()
        # Degraded: a unit that has nothing to do in a container failed.
        if state in ("running", "degraded"):
            return
        time.sleep(0.2)
    raise ContainerError(f"systemd in the container is not up: {state}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContainerError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr[-2000:]}")
