"""A child process from its parent's side: it begins, answers, fails in every way, and leaves nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stand_in_child as stand_in
from parakeetd.audio import Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.child import ChildHome, ModelToOpen, look
from parakeetd.child import home as home_module
from parakeetd.child import process as process_module
from parakeetd.errors import AudioError, BundleError, DeviceError
from parakeetd.model.bundle import EMBEDDED, MANIFEST, Bundle, sha256
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.phrases import Boost
from parakeetd.model.recognizer import Recognizer

PATIENCE_SECONDS = 120.0
PLAIN = DecodeOptions()
DEMO = ModelToOpen(EMBEDDED, sha256(EMBEDDED / MANIFEST), "cuda", 1, None)


@pytest.fixture
def homes() -> Iterator[Callable[[str], ChildHome]]:
    """Makes homes of a kind of stand-in; none of their processes is left."""
    made: list[ChildHome] = []

    def make(kind: str) -> ChildHome:
        made.append(ChildHome(DEMO, stand_in.command(kind)))
        return made[-1]

    yield make
    for home in made:
        home.close()
        assert home.pid is None


def piece(samples: int, first: float = 0.1) -> Samples:
    made = np.full(samples, 0.1, np.float32)
    made[0] = first
    return made


def is_running(pid: int) -> bool:
    """Whether a process computes or waits, and is not dead and unburied."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, which cannot notify us."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_recognises_as_the_same_model_here_does(homes: Callable[[str], ChildHome]) -> None:
    bundle = Bundle.read(EMBEDDED)
    here = Recognizer.open(bundle, threads=1)
    home = homes("model")
    audio = read_audio(EMBEDDED.parent / "clips" / "digits.flac")
    pieces = [audio, audio[: len(audio) // 2], audio[:0]]
    options = [
        PLAIN,
        DecodeOptions("ctc", language="en-US"),
        DecodeOptions(boosts=(Boost("nine nine nine", 20.0),)),
    ]
    there = home.open()
    assert there.recognize(pieces, options) == here.recognize(pieces, options)
    boosted = [DecodeOptions(boosts=(Boost("nine nine nine", 20.0),))]
    assert there.recognize([audio], boosted) == here.recognize([audio], boosted)
    assert (home.memory_bytes or 0) > 1_000_000


def test_a_closed_child_is_gone_and_another_one_can_be_opened(homes: Callable[[str], ChildHome]) -> None:
    home = homes("fake")
    assert (home.pid, home.memory_bytes) == (None, 0)
    pids = []
    for _ in range(2):
        engine = home.open()
        pids.append(home.pid or 0)
        assert is_running(pids[-1])
        assert [item.text for item in engine.recognize([piece(16_000)], [PLAIN])] == ["1000ms"]
        home.close()
        assert (home.pid, home.memory_bytes) == (None, 0)
        assert not is_running(pids[-1])
    assert pids[0] != pids[1]


def test_processes_that_come_and_go_leave_no_thread_and_no_file(homes: Callable[[str], ChildHome]) -> None:
    home = homes("fake")

    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = held()
    for number in range(10):
        home.open()
        if number % 2:
            home.kill("it is the turn of this one")
        home.close()
    # The one that reads what a process says ends a moment after it.
    until(lambda: all(now <= was for now, was in zip(held(), before, strict=True)))


def test_what_the_audio_is_at_fault_for_is_told_and_the_child_stays(
    homes: Callable[[str], ChildHome],
) -> None:
    home = homes("fake")
    engine = home.open()
    pid = home.pid
    with pytest.raises(AudioError, match="500 s is longer than the 400 s"):
        engine.recognize([piece(1600, stand_in.REFUSED)], [PLAIN])
    with pytest.raises(DeviceError, match="RuntimeError: CUDA failure 700"):
        engine.recognize([piece(1600, stand_in.BREAKS)], [PLAIN])
    assert engine.recognize([piece(1600)], [PLAIN])[0].text == "100ms"
    assert home.pid == pid


@pytest.mark.parametrize(("signal_number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (40, "signal 40")])
def test_a_child_that_somebody_kills_is_told_by_its_signal(
    homes: Callable[[str], ChildHome], signal_number: int, name: str
) -> None:
    home = homes("fake")
    engine = home.open()
    assert home.pid is not None
    os.kill(home.pid, signal_number)
    with pytest.raises(DeviceError, match=f"device cuda: its process was ended by {name}"):
        engine.recognize([piece(1600)], [PLAIN])
    # Again, now that it is known to be dead.
    with pytest.raises(DeviceError, match=name):
        engine.recognize([piece(1600)], [PLAIN])
    assert home.pid is None


def test_a_child_that_dies_in_the_middle_tells_its_last_words(
    homes: Callable[[str], ChildHome], caplog: pytest.LogCaptureFixture
) -> None:
    home = homes("fake")
    engine = home.open()
    pid = home.pid
    with pytest.raises(DeviceError, match="was ended by SIGABRT"):
        engine.recognize([piece(1600, stand_in.DIES)], [PLAIN])
    until(lambda: "stand_in_child.py" in caplog.text)
    said = [record for record in caplog.records if record.getMessage().startswith(f"cuda[{pid}]: ")]
    assert "Fatal Python error: Aborted" in said[0].getMessage()
    assert all(record.levelno == logging.WARNING for record in said)


def test_what_libraries_of_a_child_write_is_in_the_log(
    homes: Callable[[str], ChildHome], caplog: pytest.LogCaptureFixture
) -> None:
    home = homes("fake")
    home.open().recognize([piece(1600, stand_in.SAYS_SOMETHING)], [PLAIN])
    until(lambda: "[W:onnxruntime] said by a library" in caplog.text)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_child_that_hangs_is_killed_from_another_thread(
    homes: Callable[[str], ChildHome], stopped: bool
) -> None:
    home = homes("fake")
    engine = home.open()
    pid = home.pid or 0
    failed: list[Exception] = []
    if stopped:
        os.kill(pid, signal.SIGSTOP)

    def recognize() -> None:
        try:
            # More than fits into the line: a child that does not read is noticed in sending, too.
            engine.recognize([piece(1_000_000, stand_in.HANGS)], [PLAIN])
        except Exception as error:
            failed.append(error)

    waiting = threading.Thread(target=recognize)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert home.kill("no answer after 12 s")
    waiting.join(PATIENCE_SECONDS)
    assert [str(error) for error in failed] == ["device cuda: no answer after 12 s"]
    assert not is_running(pid)


def test_a_child_that_does_not_open_is_given_up(
    homes: Callable[[str], ChildHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_module, "OPENING_PATIENCE_SECONDS", 3.0)
    with pytest.raises(DeviceError, match="no answer after 3 s"):
        homes("slow").open()


def test_a_child_that_is_still_opening_can_be_killed(homes: Callable[[str], ChildHome]) -> None:
    home = homes("slow")
    failed: list[Exception] = []

    def open_it() -> None:
        try:
            home.open()
        except DeviceError as error:
            failed.append(error)

    opening = threading.Thread(target=open_it)
    opening.start()
    until(lambda: home.pid is not None)
    home.kill("the machine is about to sleep")
    opening.join(PATIENCE_SECONDS)
    assert [str(error) for error in failed] == ["device cuda: the machine is about to sleep"]


def test_a_model_that_cannot_be_opened_is_told_as_it_is(homes: Callable[[str], ChildHome]) -> None:
    with pytest.raises(BundleError, match="does not match its SHA-256 sum"):
        homes("broken").open()


def test_a_model_that_was_replaced_meanwhile_is_not_opened() -> None:
    home = ChildHome(replace(DEMO, manifest_sha256="0" * 64), stand_in.command("model"))
    with pytest.raises(BundleError, match="was replaced after the daemon had read it; reload the daemon"):
        home.open()
    home.close()


def test_a_command_that_is_no_child_is_an_error_in_one_line() -> None:
    for command in (("/nonexistent/python",), (sys.executable, "-c", "raise SystemExit(3)")):
        home = ChildHome(DEMO, command)
        with pytest.raises(DeviceError) as raised:
            home.open()
        home.close()
        assert "\n" not in str(raised.value)
        assert "cannot be started" in str(raised.value) or "ended with status 3" in str(raised.value)


def test_a_child_of_another_version_is_refused(
    homes: Callable[[str], ChildHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "__version__", "0.0.1")
    with pytest.raises(DeviceError, match=r"this is parakeetd 0\.0\.1 and .* is installed by now; restart"):
        homes("fake").open()


def test_a_child_looks_at_the_gpu_for_us() -> None:
    assert look(stand_in.command("fake")) == stand_in.GPU
    said = look_for_real()
    # Where there is none, ONNX Runtime's reason comes through.
    assert "its process" not in said


def look_for_real() -> str:
    try:
        return look()
    except DeviceError as error:
        return error.reason


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_are_meant_for_the_daemon_do_not_end_the_child(
    homes: Callable[[str], ChildHome], signal_number: signal.Signals
) -> None:
    home = homes("fake")
    engine = home.open()
    assert home.pid is not None
    os.kill(home.pid, signal_number)
    assert engine.recognize([piece(1600)], [PLAIN])[0].text == "100ms"
    # Ctrl-C in a terminal goes to a group of processes, of which the child is not.
    assert os.getpgid(home.pid) != os.getpgid(0)


def test_a_child_inherits_no_sockets_and_files(homes: Callable[[str], ChildHome], tmp_path: Path) -> None:
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(secret, True)
    try:
        home = homes("fake")
        home.open()
        links = [str(path.readlink()) for path in Path(f"/proc/{home.pid}/fd").iterdir()]
    finally:
        os.close(secret)
    assert not any("secret" in link for link in links)
    # The line to its parent and no other.
    assert sum(link.startswith("socket:") for link in links) == 1


def test_a_child_is_not_told_what_systemd_tells_the_daemon(
    homes: Callable[[str], ChildHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    home = homes("fake")
    home.open()
    environment = Path(f"/proc/{home.pid}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in environment
    assert b"WATCHDOG" not in environment
    # Set where the runtime is first imported, and inherited.
    assert b"ORT_DISABLE_TELEMETRY=1" in environment


def test_where_memory_runs_out_the_child_goes_before_the_daemon(homes: Callable[[str], ChildHome]) -> None:
    home = homes("fake")
    home.open()
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (home.pid, "self")]
    assert scores[0] > scores[1]


PARENT = """
import sys, time
import stand_in_child
from parakeetd.child import ChildHome, ModelToOpen
from pathlib import Path
home = ChildHome(ModelToOpen(Path("/nowhere"), "", "cuda", 1, None), stand_in_child.command("fake"))
engine = home.open()
print(home.pid, flush=True)
if sys.argv[1] == "computing":
    import numpy, parakeetd.model.decoding
    hang = numpy.full(1600, stand_in_child.HANGS, "f4")
    engine.recognize([hang], [parakeetd.model.decoding.DecodeOptions()])
time.sleep(3600)
"""


@pytest.mark.parametrize("state", ["idle", "computing"])
def test_a_child_dies_with_its_parent(state: str) -> None:
    support = str(Path(stand_in.__file__).parent)
    command = [sys.executable, "-c", PARENT, state]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    until(lambda: not is_running(child))
