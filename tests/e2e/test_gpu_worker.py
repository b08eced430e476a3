"""The daemon with a process for its GPU, by a stand-in: it comes when somebody speaks, leaves, and may die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_worker import Served, serving
from live_load import listen
from parakeetd.model.bundle import EMBEDDED
from speech_load import Track, make_track, shipped_pieces

WAIT_SECONDS = 120.0
BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(scope="module")
def track() -> Track:
    """One utterance and a second."""
    return make_track(shipped_pieces(EMBEDDED.parent / "clips"), 6.0, (1.2, 1.2))


def finals(served: Served, track: Track) -> list[str]:
    heard = asyncio.run(listen(served.address, track, interim=True, pace=4.0))
    return [said.text for said in heard.results if said.final]


def test_the_first_utterance_is_served_by_the_cpu_while_the_gpu_opens(track: Track) -> None:
    # It opens for an hour.
    with serving(kind="slow", device="threshold_seconds = 0.0") as served:
        assert served.child() is None
        assert finals(served, track)[: len(track.spoken)] == [item.text for item in track.spoken]
        assert served.child() is not None
        assert not served.said("is there after")
        child = served.child()
    # A daemon that ends takes it along.
    assert not Path(f"/proc/{child}").exists()


def test_the_process_leaves_when_nobody_speaks_and_comes_back(track: Track) -> None:
    with serving(device="threshold_seconds = 0.0\ngpu_idle_seconds = 0.5") as served:
        for _ in range(2):
            assert finals(served, track) == [item.text for item in track.spoken]
            assert served.wait_for_child(False, WAIT_SECONDS)
        assert len(served.said("is there after")) >= 2
        assert not served.said("failed")


def test_ctrl_c_and_a_signal_to_all_processes_end_the_daemon_and_not_its_child_first(track: Track) -> None:
    with serving(device="threshold_seconds = 0.0") as served:
        assert finals(served, track)
        assert served.wait_for_child(True, WAIT_SECONDS)
        child = served.child()
        assert child is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(child, number)
        assert finals(served, track) == [item.text for item in track.spoken]
        assert served.child() == child


def test_faults_under_load_lose_no_final() -> None:
    """The short form of the benchmark."""
    command = [
        sys.executable,
        str(BENCH / "worker_faults.py"),
        "--rounds",
        "5",
        "--streams",
        "2",
        "--pace",
        "3",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 streams differ" in done.stdout
