"""`parakeetd status`, `reload`, `load`, `unload` and SIGHUP, against a daemon in a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Outcome, Served, run, served
from parakeetd.cli.status import lines
from parakeetd.diagnosis.daemon import daemon_checks, standing_checks
from parakeetd.model.bundle import EMBEDDED, MANIFEST
from parakeetd.rpc.standing import DeviceStanding, ModelStanding, Standing

GPU = DeviceStanding("cuda", "open", False, 3, "it fell off the bus", 1.5, 2, 4_000_000, 12)
STANDING = Standing(
    "serving",
    "serving demo on CPU, GPU (failed)",
    "1.2",
    7,
    93_784.0,
    ("127.0.0.1:1", "unix:/a"),
    (ModelStanding("demo", Path("/m"), (), True, 1, 5, (DeviceStanding("cpu", "closed"), GPU)),),
    6,
    7,
    2_000_000,
)


class Running:
    """A daemon with two models and a configuration, and the commands that speak to it."""

    def __init__(self, daemon: Served, folder: Path, env: dict[str, str]) -> None:
        self.daemon = daemon
        self.folder = folder
        self._env = env

    def __call__(self, *arguments: str) -> Outcome:
        return run(*arguments, "--socket", "p.sock", env=self._env, cwd=self.folder)

    def status(self) -> Standing:
        told = json.loads(self("status", "--json").out)
        return Standing(**{key: told[key] for key in ("state", "summary", "streams", "configuration")})

    def configure(self, text: str) -> None:
        (self.folder / "c.toml").write_text(text)


@pytest.fixture
def running(env: dict[str, str], tmp_path: Path) -> Iterator[Running]:
    for name in ("one", "two"):
        folder = tmp_path / "models" / name
        shutil.copytree(EMBEDDED, folder)
        manifest = json.loads((folder / MANIFEST).read_text()) | {"name": name}
        (folder / MANIFEST).write_text(json.dumps(manifest))
    file = tmp_path / "c.toml"
    file.write_text('[model]\nname = "one"\n')
    address = f"unix:{tmp_path}/p.sock"
    arguments = ("--config", file, "--models", tmp_path / "models", "--listen", address, "--device", "cpu")
    with served(*arguments, env=env) as daemon:
        yield Running(daemon, tmp_path, env)


def test_a_daemon_is_asked_and_changed_while_it_runs(running: Running) -> None:
    assert running.status() == Standing(
        "serving", "serving one on CPU", configuration=f"{running.folder}/c.toml"
    )
    assert "model one, the default: 0 streams" in running("status").out
    assert running("reload").out == "nothing has changed\n"

    assert running("load", "two").out == "model two serves beside the default\n"
    assert running.status().summary == "serving one on CPU, two on CPU"
    assert running("unload", "two").out == "model two is unloaded\n"

    assert running("reload", "--model", "two").out == "model two instead of one\n"
    assert running.status().summary == "serving two on CPU"

    running.configure('[model]\nname = "one"\n[vad]\naggressiveness = 9\n')
    refused = running("reload")
    assert refused.code == 1
    assert refused.err.endswith("c.toml: vad.aggressiveness must be 0, 1, 2 or 3, not 9\n")
    assert running.status().summary == "serving two on CPU"

    (running.folder / "models/one/encoder-model.onnx").write_bytes(b"half")
    running.configure('[model]\nname = "one"\n')
    running.daemon.process.send_signal(signal.SIGHUP)
    running.daemon.wait_for(
        "reload refused, all goes on as before: "
        f"model bundle {running.folder}/models/one: encoder-model.onnx has 4 bytes, the manifest says "
        f"{(EMBEDDED / 'encoder-model.onnx').stat().st_size}: it is damaged"
    )
    running.configure('[model]\nname = "two"\n[vad]\naggressiveness = 3\n')
    running.daemon.process.send_signal(signal.SIGHUP)
    running.daemon.wait_for("reloaded: vad.aggressiveness = 3")

    checks = list(daemon_checks(f"unix:{running.folder}/p.sock"))
    assert [(check.subject, check.state) for check in checks] == [("daemon", "ok")]
    assert checks[0].finding.startswith("serving two on CPU; process ")
    assert running.daemon.end() == 0


def test_systemd_is_told_in_words_and_of_each_reload(env: dict[str, str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)

        def told() -> dict[str, str]:
            lines = systemd.recv(4096).decode().splitlines()
            return dict(line.split("=", 1) for line in lines)

        arguments = ("--model", "demo", "--listen", f"unix:{tmp_path}/p.sock", "--device", "cpu")
        with served(*arguments, env=env | {"NOTIFY_SOCKET": str(tmp_path / "notify")}) as daemon:
            assert told() == {"STATUS": "loading"}
            assert told() == {"READY": "1", "STATUS": "serving demo on CPU"}
            daemon.process.send_signal(signal.SIGHUP)
            reloading = told()
            assert (reloading["RELOADING"], int(reloading["MONOTONIC_USEC"]) > 0) == ("1", True)
            # Once by the steward, which tells of each change, and once as the end of the reload.
            assert told() == {"STATUS": "serving demo on CPU"}
            assert told() == {"READY": "1", "STATUS": "serving demo on CPU"}
            assert daemon.end() == 0
            assert told() == {"STOPPING": "1", "STATUS": "finishing, 0 streams are open"}


def test_without_a_daemon_it_is_said_where_none_is(env: dict[str, str], tmp_path: Path) -> None:
    for command in (("status",), ("reload",), ("load", "x"), ("unload", "x")):
        outcome = run(*command, "--socket", "p.sock", env=env, cwd=tmp_path)
        assert outcome.code == 1
        assert (
            outcome.err
            == f"parakeetd: no daemon listens at unix:{tmp_path}/p.sock; start it with: parakeetd serve\n"
        )


def test_a_status_is_told_in_lines() -> None:
    assert list(lines(STANDING)) == [
        "serving demo on CPU, GPU (failed)",
        "parakeetd 1.2, process 7, up 1 d 2 h, 2 MB",
        "listens on 127.0.0.1:1, unix:/a",
        "configuration (none: defaults)",
        "6 of 7 streams are open",
        "model demo, the default: 1 stream, 5 waiting; /m",
        "  cpu   at rest",
        "  cuda  open, computes 3 segments, 1.5 x the predicted time, process 12, 4 MB of its memory, "
        "failed 2 times, left alone for now: it fell off the bus",
    ]


def test_the_doctor_tells_of_devices_that_failed_in_the_daemon() -> None:
    daemon, gpu = standing_checks(STANDING)
    assert (daemon.state, daemon.finding) == (
        "ok",
        "serving demo on CPU, GPU (failed); process 7, 6 of 7 streams are open",
    )
    assert (gpu.subject, gpu.state) == ("daemon, demo on cuda", "problem")
    assert gpu.finding == "failed 2 times, last: it fell off the bus"


def test_the_doctor_notes_that_no_daemon_runs(tmp_path: Path) -> None:
    [check] = daemon_checks(f"unix:{tmp_path}/none.sock")
    assert (check.state, check.finding) == ("note", f"none runs at unix:{tmp_path}/none.sock")
