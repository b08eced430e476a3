"""Boot a Debian with systemd in a container, install the service there, and see what it does.

    python tests/bench/boot.py [--root DIR] [--only ROW]... [--json FILE]

Needs root, systemd-nspawn (systemd-container), debootstrap and, for a root that is not there yet, Debian's packages and
PyPI: about five minutes the first time, then three. `--root` is kept, and nothing that a run writes in it. The rows:

    install    `parakeetd install --system`: then a client is answered; exposure is 2.0 at most, `verify` says nothing,
               and a second installation has nothing to do
    ready      a daemon that is held up while it loads is not ready; when it is ready it answers
    clients    another user cannot open the socket; a member of the group can
    sleep      with a user that lasts and polkit, logind knows the service's lock, with dbus-daemon too
    stopped    a daemon that is stopped (SIGSTOP) is restarted within 2 x WatchdogSec
    hung       one whose engine hangs with a segment, while the event loop goes on, likewise
    proxy      with systemd-socket-proxyd the first client starts it, and waits until it is answered
    sigterm    `systemctl stop` while it recognises ends with exit 0
    user       `parakeetd install` for a user with its own manager, without a login
    removed    `parakeetd uninstall` leaves models and configuration, `--purge` nothing

Exit code 1 when a row fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from containers import INSTALLED, Booted, ContainerError, booted, install_into, make_root, missing

ROOT = Path(__file__).resolve().parents[2]
PARAKEETD = f"{INSTALLED}/bin/parakeetd"
PYTHON = f"{INSTALLED}/bin/python"
UNIT = "parakeetd.service"
TCP = "127.0.0.1:50051"
SOCKET = "unix:/run/parakeetd/parakeetd.sock"
CLIP_TEXT = "five six one zero eight three"

MAX_EXPOSURE = 2.0
RESTARTS = 2.0
"""A hung daemon is back within so many times WatchdogSec."""
PATIENCE_SECONDS = 60.0

ASK = """
import asyncio, sys
from contextlib import aclosing
from pathlib import Path
import parakeetd.embedded
from parakeetd.rpc.client import stream_file
clip = Path(parakeetd.embedded.__path__[0]) / "clips" / "digits.flac"
async def main():
    async with aclosing(stream_file(sys.argv[1], clip, real_time=False)) as lines:
        print(" ".join([line.text async for line in lines if line.is_final]))
asyncio.run(asyncio.wait_for(main(), 50))
"""
"""Streams a clip to the address it is given and prints what comes back."""

CONNECT = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect("/run/parakeetd/parakeetd.sock")
    print("connected")
except OSError as error:
    print(error.strerror)
"""

HANG = """
import builtins, os, sys, threading, time
def later():
    while "parakeetd.model.recognizer" not in sys.modules or not hasattr(
        sys.modules["parakeetd.model.recognizer"], "Recognizer"
    ):
        time.sleep(0.01)
    kind = sys.modules["parakeetd.model.recognizer"].Recognizer
    real = kind.recognize
    def recognize(*arguments):
        if os.path.exists("/etc/parakeetd/hang"):
            threading.Event().wait()
        return real(*arguments)
    kind.recognize = recognize
threading.Thread(target=later, daemon=True).start()
"""
"""Has the engine wait for ever while a file is there; Python runs it at its start as `sitecustomize`."""


class Missed(Exception):
    """A row is not as it should be; the message says how."""


@dataclass(frozen=True)
class Row:
    name: str
    passed: bool
    seconds: float
    figure: str


def install(box: Booted) -> str:
    said = box.run(PARAKEETD, "install", "--system", "--model", "demo", "--seconds", "5").stdout
    _heard(_ask(box, TCP), CLIP_TEXT)
    box.run(PARAKEETD, "status", "--socket", SOCKET)
    again = box.run(PARAKEETD, "install", "--system", "--model", "demo").stdout
    if "systemctl" in again.partition("next:")[0] or "wrote" in again:
        raise Missed(f"a second installation changed something: {again}")
    for line in ("wrote /etc/systemd/system/parakeetd.service", "the service serves demo"):
        if line not in said:
            raise Missed(f"{line!r} was not said: {said}")
    verified = box.run("systemd-analyze", "--man=no", "verify", f"/etc/systemd/system/{UNIT}")
    if verified.stdout or verified.stderr:
        raise Missed(f"verify: {verified.stdout}{verified.stderr}")
    scored = box.run("systemd-analyze", "--no-pager", "security", UNIT).stdout
    exposure = float(scored.rpartition("Overall exposure level for ")[2].partition(": ")[2].split()[0])
    if exposure > MAX_EXPOSURE:
        raise Missed(f"exposure {exposure}")
    return f"exposure {exposure} of the running service"


def ready(box: Booted) -> str:
    box.run("systemctl", "stop", UNIT)
    _start(box, "--no-block")
    pid = _wait(lambda: box.show(UNIT, "MainPID")["MainPID"].strip("0"), "a process")
    box.run("kill", "-STOP", pid)
    time.sleep(3)
    state = box.show(UNIT, "ActiveState")["ActiveState"]
    if state != "activating":
        raise Missed(f"{state} while the daemon was held up")
    if box.run(PYTHON, "-c", ASK, TCP, check=False).returncode == 0:
        raise Missed("it answered while it was held up")
    begun = time.monotonic()
    box.run("kill", "-CONT", pid)
    _wait(lambda: box.show(UNIT, "ActiveState")["ActiveState"] == "active", "active")
    seconds = time.monotonic() - begun
    _heard(_ask(box, TCP), CLIP_TEXT)
    return f"activating while it was held up for 3 s, ready {seconds:.1f} s later, and answered"


def clients(box: Booted) -> str:
    box.run("useradd", "--create-home", "stranger")
    box.run("useradd", "--create-home", "--groups", "parakeetd-clients", "member")
    _start(box)
    refused = box.run("runuser", "-u", "stranger", "--", PYTHON, "-c", CONNECT).stdout.strip()
    admitted = box.run("runuser", "-u", "member", "--", PYTHON, "-c", CONNECT).stdout.strip()
    if (refused, admitted) != ("Permission denied", "connected"):
        raise Missed(f"another user: {refused}; a member of the group: {admitted}")
    _heard(_ask(box, SOCKET, "runuser", "-u", "member", "--"), CLIP_TEXT)
    return f"another user: {refused}; a member: {admitted}"


def sleep(box: Booted) -> str:
    # systemd keeps dbus-daemon from finding users that only exist while a service runs. A service must not run
    # under the name that useradd is given.
    box.run("systemctl", "stop", UNIT)
    box.run("useradd", "--system", "--no-create-home", "--shell=/usr/sbin/nologin", "parakeetd")
    logind = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
    try:
        _start(box)
        number = box.run("id", "-u", "parakeetd").stdout.strip()

        def held() -> bool:
            locks = box.run("busctl", "call", *logind, "ListInhibitors").stdout
            return f'"parakeetd" "the speech model leaves the GPU" "delay" {number} ' in locks

        _wait(held, "the lock (polkitd is needed: was the root made with it?)")
        sandbox = box.show(UNIT, "DynamicUser", "ProtectSystem", "PrivateTmp")
        if sandbox != {"DynamicUser": "yes", "ProtectSystem": "strict", "PrivateTmp": "yes"}:
            raise Missed(f"the service is less shut in: {sandbox}")
        _heard(_ask(box, TCP), CLIP_TEXT)
    finally:
        box.run("systemctl", "stop", UNIT)
        box.run("userdel", "parakeetd")
    _start(box)
    _heard(_ask(box, TCP), CLIP_TEXT)
    return "a user that lasts: the lock is held; without it again: answered"


def stopped(box: Booted) -> str:
    return _restarted(box, lambda pid: box.run("kill", "-STOP", pid))


def hung(box: Booted) -> str:
    box.run("mkdir", "-p", "/opt/hang", f"/etc/systemd/system/{UNIT}.d")
    box.run("tee", "/opt/hang/sitecustomize.py", stdin=HANG)
    drop_in = "[Service]\nEnvironment=PYTHONPATH=/opt/hang\n"
    box.run("tee", f"/etc/systemd/system/{UNIT}.d/hang.conf", stdin=drop_in)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "stop", UNIT)
    _start(box)
    _heard(_ask(box, TCP), CLIP_TEXT)

    def hang(pid: str) -> None:
        box.run("touch", "/etc/parakeetd/hang")
        # Its answer never comes; it ends with the daemon.
        box.run("sh", "-c", f"{PYTHON} -c '{ASK}' {TCP} >/dev/null 2>&1 &")

    try:
        return _restarted(box, hang, lambda: box.run("rm", "/etc/parakeetd/hang"))
    finally:
        box.run("rm", "-rf", "/opt/hang", f"/etc/systemd/system/{UNIT}.d")
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "stop", UNIT)


def proxy(box: Booted) -> str:
    for name in ("parakeetd-proxy.socket", "parakeetd-proxy.service"):
        box.run(
            "tee", f"/etc/systemd/system/{name}", stdin=(ROOT / "systemd/proxy" / name).read_text("utf-8")
        )
    on_demand = "[Unit]\nStopWhenUnneeded=yes\n"
    box.run("mkdir", "-p", f"/etc/systemd/system/{UNIT}.d")
    box.run("tee", f"/etc/systemd/system/{UNIT}.d/on-demand.conf", stdin=on_demand)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "disable", "--now", UNIT)
    box.run("systemctl", "reset-failed", UNIT, check=False)
    box.run("systemctl", "start", "parakeetd-proxy.socket")
    if box.show(UNIT, "ActiveState")["ActiveState"] != "inactive":
        raise Missed("it ran before anybody came")
    try:
        begun = time.monotonic()
        _heard(_ask(box, "127.0.0.1:50050"), CLIP_TEXT)
        seconds = time.monotonic() - begun
        box.run("systemctl", "stop", "parakeetd-proxy.socket", "parakeetd-proxy.service")
        _wait(lambda: box.show(UNIT, "ActiveState")["ActiveState"] == "inactive", "end without clients")
    finally:
        box.run("rm", "-rf", f"/etc/systemd/system/{UNIT}.d", "/etc/systemd/system/parakeetd-proxy.socket")
        box.run("rm", "-f", "/etc/systemd/system/parakeetd-proxy.service")
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "enable", UNIT)
    return f"the first client was answered after {seconds:.1f} s, the start included"


def sigterm(box: Booted) -> str:
    _start(box)
    box.run("sh", "-c", f"for n in 1 2 3 4; do {PYTHON} -c '{ASK}' {TCP} >/dev/null 2>&1 & done; sleep 1")
    begun = time.monotonic()
    box.run("systemctl", "stop", UNIT)
    seconds = time.monotonic() - begun
    ended = box.show(UNIT, "Result", "ExecMainStatus", "ExecMainCode")
    if (ended["Result"], ended["ExecMainStatus"], ended["ExecMainCode"]) != ("success", "0", "1"):
        raise Missed(f"it ended with {ended}")
    return f"exit 0 after {seconds:.1f} s"


def user(box: Booted) -> str:
    box.run("systemctl", "stop", UNIT)
    box.run("useradd", "--create-home", "speaker")
    box.run("loginctl", "enable-linger", "speaker")
    number = box.run("id", "-u", "speaker").stdout.strip()
    runtime = f"/run/user/{number}"
    _wait(
        lambda: box.run("test", "-S", f"{runtime}/systemd/private", check=False).returncode == 0, "a manager"
    )
    env = {"XDG_RUNTIME_DIR": runtime, "HOME": "/home/speaker"}
    as_user = ("setpriv", f"--reuid={number}", f"--regid={number}", "--init-groups")
    command = [*as_user, PARAKEETD, "install", "--model", "demo", "--seconds", "5"]
    said = box.run(*command, env=env).stdout
    if "the service serves demo" not in said:
        raise Missed(said)
    _heard(_ask(box, f"unix:{runtime}/parakeetd/parakeetd.sock", *as_user), CLIP_TEXT)
    stranger = box.run("runuser", "-u", "nobody", "--", "ls", f"{runtime}/parakeetd", check=False)
    if stranger.returncode == 0:
        raise Missed("another user sees the runtime folder")
    file = "/home/speaker/.config/systemd/user/parakeetd.service"
    verified = box.run(*as_user, "systemd-analyze", "--user", "--man=no", "verify", file, env=env)
    if verified.stdout or verified.stderr:
        raise Missed(f"verify: {verified.stdout}{verified.stderr}")
    box.run(*as_user, PARAKEETD, "uninstall", "--purge", env=env)
    left = box.run("find", "/home/speaker/.config", "/home/speaker/.local", "-name", "parakeetd*").stdout
    if left:
        raise Missed(f"uninstall --purge left {left}")
    return "ready, answered on its socket, removed"


def removed(box: Booted) -> str:
    box.run(PARAKEETD, "uninstall", "--system")
    kept = box.run(
        "ls", "/etc/parakeetd/config.toml", "/var/lib/parakeetd/calibration/demo.json", check=False
    )
    if kept.returncode:
        raise Missed(f"uninstall took more than the service: {kept.stderr}")
    box.run(PARAKEETD, "uninstall", "--system", "--purge")
    places = ("/etc", "/var/lib", "/run")
    left = box.run("find", *places, "-name", "parakeetd*", "-not", "-path", "*/nspawn/*").stdout
    if left:
        raise Missed(f"uninstall --purge left {left}")
    return "models and configuration kept; nothing left by --purge"


ROWS: tuple[Callable[[Booted], str], ...] = (
    install,
    ready,
    clients,
    sleep,
    stopped,
    hung,
    proxy,
    sigterm,
    user,
    removed,
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = Path.home() / ".cache/parakeetd-boot/root"
    parser.add_argument("--root", type=Path, default=cache, help=f"folder of the Debian  [default: {cache}]")
    parser.add_argument("--source", type=Path, default=ROOT, help="source tree that is installed")
    names = [row.__name__ for row in ROWS]
    parser.add_argument("--only", action="append", choices=names, help="these rows, after install")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    chosen = parser.parse_args()
    if reason := missing():
        print(f"not here: {reason}", file=sys.stderr)
        return 1
    chosen.root.parent.mkdir(parents=True, exist_ok=True)
    make_root(chosen.root)
    install_into(chosen.root, chosen.root.parent / "wheels", chosen.source)
    rows = []
    with booted(chosen.root) as box:
        for row in ROWS:
            if not chosen.only or row.__name__ in chosen.only or row is install:
                rows.append(_measured(row, box))
                print(
                    f"{'ok  ' if rows[-1].passed else 'MISS'} {rows[-1].name:9} {rows[-1].figure}", flush=True
                )
        if not all(row.passed for row in rows):
            print(box.run("journalctl", "--unit", UNIT, "--no-pager", "--lines=60").stdout, file=sys.stderr)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0 if all(row.passed for row in rows) else 1


def _measured(row: Callable[[Booted], str], box: Booted) -> Row:
    begun = time.monotonic()
    try:
        figure, passed = row(box), True
    except (Missed, ContainerError) as error:
        figure, passed = str(error), False
    return Row(row.__name__, passed, round(time.monotonic() - begun, 1), figure)


def _restarted(box: Booted, harm: Callable[[str], object], mend: Callable[[], object] = lambda: None) -> str:
    """Harm the daemon, and wait until systemd has replaced it and the new one answers."""
    _start(box)
    bound = RESTARTS * int(box.show(UNIT, "WatchdogUSec")["WatchdogUSec"].removesuffix("s"))
    old = box.show(UNIT, "MainPID")["MainPID"]
    harm(old)
    begun = time.monotonic()

    def gone() -> bool:
        return box.show(UNIT, "MainPID")["MainPID"] not in (old, "0")

    _wait(gone, "a new process", bound + PATIENCE_SECONDS)
    mend()
    _wait(lambda: box.show(UNIT, "ActiveState")["ActiveState"] == "active", "ready again")
    seconds = time.monotonic() - begun
    _heard(_ask(box, TCP), CLIP_TEXT)
    said = box.run("journalctl", "--unit", UNIT, "--no-pager", "--output=cat", "--lines=200").stdout
    if "watchdog" not in said.lower():
        raise Missed("it was not the watchdog that ended it")
    if seconds > bound:
        raise Missed(f"ready again after {seconds:.0f} s; the bound is {bound:.0f} s")
    return f"ready again after {seconds:.0f} s; the bound is {bound:.0f} s"


def _start(box: Booted, *flags: str) -> None:
    # More starts than the unit allows in five minutes.
    box.run("systemctl", "reset-failed", UNIT, check=False)
    box.run("systemctl", "start", *flags, UNIT)


def _ask(box: Booted, address: str, *prefix: str) -> str:
    return box.run(*prefix, PYTHON, "-c", ASK, address).stdout.strip()


def _heard(text: str, wanted: str) -> None:
    if text != wanted:
        raise Missed(f"the answer was {text!r}")


def _wait(happened: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := happened():
            return str(found)
        time.sleep(0.1)
    raise Missed(f"no {what} in {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
