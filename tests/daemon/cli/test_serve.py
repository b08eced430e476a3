"""`parakeetd serve` as a process: what it says, its signals, its addresses, and why it does not start."""

from __future__ import annotations

import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import soundfile

from clips import Clip
from commands import Served, run, served
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio

FREE = ("--listen", "127.0.0.1:0")


@contextmanager
def idle_stream(daemon: Served, clip: Clip) -> Iterator[Iterator[asr.StreamingRecognizeResponse]]:
    """A client that has said something, got its first answer, and now says nothing and stays."""
    leave = threading.Event()

    def requests() -> Iterator[asr.StreamingRecognizeRequest]:
        config = asr.RecognitionConfig(encoding=audio.LINEAR_PCM, sample_rate_hertz=clip.rate)
        yield asr.StreamingRecognizeRequest(
            streaming_config=asr.StreamingRecognitionConfig(config=config, interim_results=True)
        )
        samples, _ = soundfile.read(clip.path, dtype="int16")
        yield asr.StreamingRecognizeRequest(audio_content=samples.tobytes())
        leave.wait()

    with grpc.insecure_channel(daemon.addresses[0]) as channel:
        answers = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(requests())
        next(answers)
        try:
            yield answers
        finally:
            leave.set()


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return file


def test_it_says_where_it_listens_what_it_serves_and_that_it_is_ready(
    env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "new" / "p.sock"
    with served(*FREE, "--listen", f"unix:{path}", env=env) as daemon:
        tcp, unix = daemon.addresses
        assert tcp.startswith("127.0.0.1:")
        assert not tcp.endswith(":0")
        assert unix == f"unix:{path}"
        assert any("embedded demo model" in line and "parakeetd-convert list" in line for line in daemon.said)
        assert "serving model demo on CPU" in " ".join(daemon.said)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert daemon.end() == 0
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(env: dict[str, str], number: signal.Signals) -> None:
    with served(*FREE, env=env) as daemon:
        assert daemon.end(number) == 0
    assert daemon.said[-1] == "finishing"


def test_an_idle_stream_is_answered_and_does_not_hold_up_the_end(
    env: dict[str, str], tmp_path: Path, clips: dict[str, Clip]
) -> None:
    config = written(tmp_path, "[server]\ndrain_seconds = 0.5\n")
    with (
        served(*FREE, "--config", config, env=env) as daemon,
        idle_stream(daemon, clips["digits"]) as answers,
    ):
        daemon.process.send_signal(signal.SIGTERM)
        answered: list[asr.StreamingRecognitionResult] = []
        with pytest.raises(grpc.RpcError, match="shutting down"):
            answered.extend(result for answer in answers for result in answer.results)
        assert answered[-1].is_final
        assert answered[-1].alternatives[0].transcript.strip() == clips["digits"].nemo_text
        assert daemon.process.wait(20) == 0


def test_a_second_signal_does_not_wait_for_streams(
    env: dict[str, str], tmp_path: Path, clips: dict[str, Clip]
) -> None:
    config = written(tmp_path, "[server]\ndrain_seconds = 60\n")
    with served(*FREE, "--config", config, env=env) as daemon, idle_stream(daemon, clips["digits"]):
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("finishing")
        assert daemon.end() == -signal.SIGTERM


def test_a_reader_of_its_lines_that_leaves_does_not_stop_it(
    env: dict[str, str], clips: dict[str, Clip]
) -> None:
    with served(*FREE, env=env) as daemon:
        assert daemon.process.stderr is not None
        daemon.process.stderr.close()
        with idle_stream(daemon, clips["digits"]):
            pass
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(20) == 0


def test_flags_come_before_the_configuration(env: dict[str, str], tmp_path: Path, models: Path) -> None:
    config = written(tmp_path, '[server]\nlisten = ["127.0.0.1:1"]\n[model]\nname = "nope"\n')
    with served("--config", config, *FREE, "--model", "mine", "--models", models, env=env) as daemon:
        assert len(daemon.addresses) == 1
        assert "serving model demo on CPU" in " ".join(daemon.said)


def test_the_users_configuration_is_read(env: dict[str, str], tmp_path: Path) -> None:
    file = Path(env["HOME"]) / ".config/parakeetd/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[server]\nlisten = ["unix:{tmp_path}/p.sock"]\n')
    with served(env=env) as daemon:
        assert daemon.addresses == [f"unix:{tmp_path}/p.sock"]


def test_a_port_in_use_is_named(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        outcome = run("serve", "--listen", address, env=env)
    assert outcome.code == 1
    assert f"parakeetd: cannot listen on {address}: it is in use" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err


def test_a_second_daemon_on_the_same_socket_is_refused_and_the_first_goes_on(
    env: dict[str, str], tmp_path: Path, clips: dict[str, Clip]
) -> None:
    address = f"unix:{tmp_path}/p.sock"
    with served("--listen", address, env=env) as daemon:
        second = run("serve", "--listen", address, env=env)
        assert second.code == 1
        assert second.err.splitlines()[-1].startswith(f"parakeetd: cannot listen on {address}: it is in use")
        with idle_stream(daemon, clips["digits"]):
            pass


def test_the_socket_of_a_killed_daemon_is_taken_over(env: dict[str, str], tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/p.sock"
    with served("--listen", address, env=env) as killed:
        assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    assert (tmp_path / "p.sock").is_socket()
    with served("--listen", address, env=env) as daemon:
        assert daemon.addresses == [address]
        assert daemon.end() == 0


@pytest.mark.parametrize(
    ("place", "reason"),
    [("none/none/p.sock", "does not exist"), ("file/p.sock", "cannot listen on"), ("file", "not a socket")],
)
def test_a_place_where_no_socket_can_be_is_named(
    env: dict[str, str], tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "file").write_text("precious")
    outcome = run("serve", "--listen", f"unix:{tmp_path}/{place}", env=env)
    assert outcome.code == 1
    last = outcome.err.splitlines()[-1]
    assert last.startswith("parakeetd: ")
    assert f"unix:{tmp_path}/{place}" in last
    assert reason in last
    assert (tmp_path / "file").read_text() == "precious"


def test_a_runtime_folder_that_is_not_there_is_named(env: dict[str, str], tmp_path: Path) -> None:
    # The port may be in use where this is tested; either way the answer is one line, and nothing is made.
    outcome = run("serve", env=env | {"XDG_RUNTIME_DIR": str(tmp_path / "gone")})
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("parakeetd: cannot listen on ")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0:50051", "other machines"),
        ("localhost", "HOST:PORT"),
        ("unix:p.sock", "the whole path"),
        ("127.0.0.1:99999", "HOST:PORT"),
    ],
)
def test_an_address_that_makes_no_sense_is_wrong_usage(
    env: dict[str, str], address: str, reason: str
) -> None:
    outcome = run("serve", "--listen", address, env=env)
    assert outcome.code == 2
    assert address in outcome.error
    assert reason in outcome.error


def test_an_unknown_model_is_named(env: dict[str, str]) -> None:
    outcome = run("serve", *FREE, "--model", "0.9b", env=env)
    assert outcome.code == 2
    assert "model '0.9b' is not installed" in outcome.error


def test_a_damaged_model_is_named(env: dict[str, str], models: Path) -> None:
    (models / "mine" / "vocab.txt").unlink()
    outcome = run("serve", *FREE, "--models", models, env=env)
    assert outcome.code == 2
    assert f"{models}/mine: vocab.txt is missing" in outcome.error


def test_a_wrong_configuration_is_named(env: dict[str, str], tmp_path: Path) -> None:
    config = written(tmp_path, "[server]\nmax_stream = 3\n")
    outcome = run("serve", "--config", config, env=env)
    assert outcome.code == 2
    assert f"configuration {config}: unknown key server.max_stream" in outcome.error
