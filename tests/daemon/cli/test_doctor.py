"""`parakeetd doctor`: what it finds on this machine, and what it would say on others."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Command, served
from parakeetd.config import DeviceSettings
from parakeetd.diagnosis import routing_check
from parakeetd.diagnosis.gpu import Runtime, gpu_check, plugged_in_cards, runtime_check
from parakeetd.errors import DeviceError
from parakeetd.measure.driver import Driver
from parakeetd.model.sessions import probe

Doctor = Callable[..., tuple[int, dict[str, tuple[str, str]]]]

CUDA_RUNTIME = Runtime({"onnxruntime-gpu": "1.31.1"}, (13, 0))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return int(probing.getsockname()[1])


@pytest.fixture
def doctor(parakeetd: Command, tmp_path: Path, free_port: int) -> Doctor:
    """Runs `doctor --json` on a configuration; answers the exit code and (state, finding) by subject."""

    def examine(config: str = "", *arguments: str | Path) -> tuple[int, dict[str, tuple[str, str]]]:
        file = tmp_path / "config.toml"
        # The default port may be in use on the machine that tests.
        listen = "" if "[server]" in config else f'[server]\nlisten = ["127.0.0.1:{free_port}"]\n'
        file.write_text(listen + config)
        outcome = parakeetd("doctor", "--json", "--config", file, *arguments)
        assert outcome.err == ""
        rows = json.loads(outcome.out)
        return outcome.code, {row["subject"]: (row["state"], row["finding"]) for row in rows}

    return examine


def cuda_failure() -> str:
    try:
        probe("cuda")
    except DeviceError as error:
        return error.reason
    return ""


def test_a_fresh_installation_has_no_problem(doctor: Doctor) -> None:
    code, found = doctor()
    assert code == 0
    assert not [subject for subject, (state, _) in found.items() if state == "problem"]
    assert found["device cpu"][0] == "ok"
    state, finding = found["model demo"]
    assert state == "ok"
    assert "matches its checksums, runs on cpu" in finding
    assert found["models"][0] == "note"
    assert "parakeetd-convert list" in found["models"][1]


def test_lines_for_people_say_the_same_as_json(parakeetd: Command, doctor: Doctor, tmp_path: Path) -> None:
    _, found = doctor()
    outcome = parakeetd("doctor", "--config", tmp_path / "config.toml")
    assert len(outcome.out.splitlines()) == len(found)
    for line, (subject, (state, finding)) in zip(outcome.out.splitlines(), found.items(), strict=True):
        assert line.endswith(f" {subject}: {finding}")
        assert line.startswith({"ok": "ok ", "note": "note ", "problem": "WRONG "}[state])


def test_a_gpu_that_is_not_used_has_the_reason_of_a_real_attempt(doctor: Doctor) -> None:
    if not (reason := cuda_failure()):
        pytest.skip("CUDA works here")
    code, found = doctor()
    assert found["device cuda"] == ("note", f"not usable: {reason}")
    assert found["routing"] == ("ok", "all segments go to the CPU")
    assert code == 0


def test_a_missing_gpu_is_a_problem_when_the_configuration_insists_on_it(doctor: Doctor) -> None:
    if not (reason := cuda_failure()):
        pytest.skip("CUDA works here")
    code, found = doctor('[device]\nchoice = "cuda"\n')
    assert found["device cuda"] == ("problem", f"not usable: {reason}")
    assert code == 1


def test_a_wrong_configuration_is_a_problem_and_the_rest_is_still_examined(
    doctor: Doctor, tmp_path: Path
) -> None:
    code, found = doctor("[limits]\nmax_streams = 0\n")
    assert code == 1
    state, finding = found["configuration"]
    assert state == "problem"
    assert f"{tmp_path}/config.toml: limits.max_streams" in finding
    assert found["model demo"][0] == "ok"


def test_a_missing_configuration_that_was_named_is_a_problem(parakeetd: Command, tmp_path: Path) -> None:
    outcome = parakeetd("doctor", "--config", tmp_path / "none.toml")
    assert outcome.code == 1
    assert f"WRONG configuration: configuration {tmp_path}/none.toml: cannot be read" in outcome.out


def test_a_changed_byte_is_found_also_in_a_file_that_is_not_served(doctor: Doctor, models: Path) -> None:
    with (models / "mine" / "ctc-model.onnx").open("r+b") as file:
        file.write(b"\xff")
    code, found = doctor("", "--models", models)
    assert code == 1
    assert found["model mine"][0] == "problem"
    assert "ctc-model.onnx does not match" in found["model mine"][1]
    assert found["model demo"][0] == "ok"


def test_the_model_of_the_configuration_must_be_installed(doctor: Doctor, models: Path) -> None:
    code, found = doctor('[model]\nname = "0.9b"\n', "--models", models)
    assert code == 1
    assert found["model"][0] == "problem"
    assert "'0.9b' is not installed" in found["model"][1]


def test_only_the_model_that_would_be_served_is_run(doctor: Doctor, models: Path) -> None:
    _, found = doctor("", "--models", models)
    assert "runs on cpu" in found["model mine"][1]
    assert "runs on" not in found["model demo"][1]


def test_a_free_address_is_told(doctor: Doctor, free_port: int, tmp_path: Path) -> None:
    socket_path = tmp_path / "new" / "p.sock"
    config = f'[server]\nlisten = ["127.0.0.1:{free_port}", "unix:{socket_path}"]\n'
    code, found = doctor(config)
    assert found[f"address 127.0.0.1:{free_port}"] == ("ok", "free")
    assert found[f"address unix:{socket_path}"] == ("ok", "free")
    assert code == 0
    # Looking changes nothing.
    assert not socket_path.parent.exists()


def test_a_stranger_on_the_port_is_a_problem(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        code, found = doctor(f'[server]\nlisten = ["127.0.0.1:{port}"]\n')
    assert code == 1
    assert found[f"address 127.0.0.1:{port}"][0] == "problem"
    assert "no speech server" in found[f"address 127.0.0.1:{port}"][1]


def test_a_daemon_that_runs_is_recognised(doctor: Doctor, env: dict[str, str], tmp_path: Path) -> None:
    with served("--listen", f"unix:{tmp_path}/p.sock", "--listen", "127.0.0.1:0", env=env) as daemon:
        listen = json.dumps(daemon.addresses)
        code, found = doctor(f"[server]\nlisten = {listen}\n")
        for address in daemon.addresses:
            assert found[f"address {address}"] == ("ok", "a speech server runs there and serves demo")
    assert code == 0


@pytest.mark.parametrize(
    ("cards", "driver", "runtime", "state", "named"),
    [
        (0, None, CUDA_RUNTIME, "ok", "no NVIDIA GPU"),
        (1, None, CUDA_RUNTIME, "note", "install NVIDIA's driver"),
        (
            1,
            Driver((13, 0), (), "no CUDA-capable device is detected"),
            CUDA_RUNTIME,
            "note",
            "no CUDA-capable",
        ),
        (0, Driver((13, 0), (), "no CUDA-capable device is detected"), CUDA_RUNTIME, "note", "/dev/nvidia"),
        (1, Driver((12, 4), ("H200",)), CUDA_RUNTIME, "note", "needs CUDA 13.0; update NVIDIA's driver"),
        (1, Driver((13, 1), ("H200",)), CUDA_RUNTIME, "ok", "H200 (driver for CUDA 13.1)"),
        (1, Driver((14, 0), ("H200",)), CUDA_RUNTIME, "ok", "H200"),
        (
            1,
            Driver((13, 1), ("H200",)),
            Runtime({"onnxruntime": "1.31.1"}, None),
            "note",
            "pip uninstall -y onnxruntime; pip install onnxruntime-gpu",
        ),
    ],
)
def test_what_keeps_a_gpu_from_being_used_is_named(
    cards: int, driver: Driver | None, runtime: Runtime, state: str, named: str
) -> None:
    check = gpu_check(cards, driver, runtime)
    assert check.state == state
    assert named in check.finding


def test_two_packages_of_one_runtime_are_a_problem() -> None:
    check = runtime_check(Runtime({"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.31.1"}, None))
    assert check.state == "problem"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu; pip install onnxruntime-gpu" in check.finding
    assert runtime_check(CUDA_RUNTIME).state == "ok"


def test_display_cards_of_nvidia_are_counted(tmp_path: Path) -> None:
    # A graphics card, a data-centre card, NVIDIA's network card, another maker's graphics card.
    devices = [("10de", "030000"), ("10de", "030200"), ("10de", "020000"), ("8086", "030000")]
    for number, (vendor, kind) in enumerate(devices):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "vendor").write_text(f"0x{vendor}\n")
        (tmp_path / str(number) / "class").write_text(f"0x{kind}\n")
    assert plugged_in_cards(tmp_path) == 2
    assert plugged_in_cards(tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("settings", "cuda_works", "state", "named"),
    [
        (DeviceSettings(), False, "ok", "all segments go to the CPU"),
        (
            DeviceSettings(threshold_seconds=2.5),
            True,
            "ok",
            "from 2.5 s go to the GPU, shorter ones to the CPU",
        ),
        (DeviceSettings(), True, "ok", "predicted to have it first"),
        (DeviceSettings(choice="cuda"), True, "ok", "all segments go to the GPU"),
        (DeviceSettings(choice="cpu"), True, "note", "device.choice is cpu"),
        (DeviceSettings(choice="cpu"), False, "ok", "device.choice is cpu"),
    ],
)
def test_where_segments_go_is_told(
    settings: DeviceSettings, cuda_works: bool, state: str, named: str
) -> None:
    check = routing_check(settings, cuda_works=cuda_works)
    assert check.state == state
    assert named in check.finding
