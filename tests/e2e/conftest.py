"""A real daemon with the embedded model, and clients of others, each in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clips import Clip, Utterance, shipped_clips
from commands import home, run, served
from virtual_sound import VirtualSound, virtual_sound

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"

Client = Callable[..., Any]
Riva = Client
"""Runs a function of `riva_client.py` and returns what it printed."""


Agent = Callable[[str, Path], dict[str, Any]]
"""Streams a WAV file to an address, as it is spoken, and returns what the client beside the tests printed."""

PAUSE_SECONDS = 1.3
"""Between the clips of a conversation, which have some silence of their own: longer than the daemon waits for an
utterance to go on."""

Conversation = Callable[..., tuple[Path, list[Utterance]]]
"""Makes one WAV file of shipped clips, by the stems of their names, and says what is spoken in it."""

STREAM_SECONDS = 120.0
"""A client that has not ended by then is killed: the longest test streams half a minute of audio as it is spoken."""

DAEMON_SECONDS = 900.0


def interpreter(client: str, folder: str, variable: str) -> Path:
    """The interpreter that has a client. It is never this one: both register the same messages."""
    named = os.environ.get(variable)
    python = Path(named or ROOT / folder / "bin" / "python")
    if not python.is_file():
        problem = f"no {client}: {python} is missing; make it with: make {folder}/.ready"
        if named or os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    return python


def printed(command: list[str | Path]) -> Any:
    """What a client prints as JSON."""
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=STREAM_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def riva_python() -> Path:
    return interpreter("NVIDIA Riva client", ".venv-riva", "PARAKEETD_RIVA_PYTHON")


@pytest.fixture(scope="session")
def livekit_python() -> Path:
    return interpreter("LiveKit plugin", ".venv-livekit", "PARAKEETD_LIVEKIT_PYTHON")


@pytest.fixture(scope="session")
def pipecat_python() -> Path:
    return interpreter("pipecat", ".venv-pipecat", "PARAKEETD_PIPECAT_PYTHON")


@pytest.fixture(scope="session")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def address(env: dict[str, str]) -> Iterator[str]:
    """Where a daemon with the embedded model listens."""
    with served("--model", "demo", "--listen", "127.0.0.1:0", env=env, seconds=DAEMON_SECONDS) as daemon:
        yield daemon.addresses[0]


@pytest.fixture(scope="session")
def riva(riva_python: Path) -> Riva:
    def call(way: str, *arguments: str | Path) -> Any:
        return printed([riva_python, SUPPORT / "riva_client.py", way, *arguments])

    return call


@pytest.fixture(scope="session")
def livekit(livekit_python: Path) -> Agent:
    return lambda address, file: printed([livekit_python, SUPPORT / "livekit_client.py", address, file])


@pytest.fixture(scope="session")
def pipecat(pipecat_python: Path) -> Agent:
    return lambda address, file: printed([pipecat_python, SUPPORT / "pipecat_client.py", address, file])


@pytest.fixture(scope="session")
def wyoming() -> Client:
    """Runs a function of `wyoming_client.py` and returns what it printed."""
    python = interpreter("wyoming package", ".venv-wyoming", "PARAKEETD_WYOMING_PYTHON")
    return lambda way, *arguments: printed([python, SUPPORT / "wyoming_client.py", way, *arguments])


@pytest.fixture(scope="session")
def openai() -> Client:
    """Runs a function of `openai_client.py` and returns what it printed."""
    python = interpreter("openai package", ".venv-openai", "PARAKEETD_OPENAI_PYTHON")
    return lambda way, *arguments: printed([python, SUPPORT / "openai_client.py", way, *arguments])


@pytest.fixture
def conversation(clips: dict[str, Clip], tmp_path: Path) -> Conversation:
    """Puts clips one after the other."""

    def put(*names: str) -> tuple[Path, list[Utterance]]:
        audio, said, at = [], [], 0.0
        for name in names:
            samples, rate = soundfile.read(clips[name].path, dtype="int16")
            said += [Utterance(u.text, at + u.start, at + u.end) for u in clips[name].utterances]
            audio += [samples, np.zeros(round(PAUSE_SECONDS * rate), np.int16)]
            at += clips[name].seconds + PAUSE_SECONDS
        file = tmp_path / "conversation.wav"
        soundfile.write(file, np.concatenate(audio), 16_000, subtype="PCM_16")
        return file, said

    return put


@pytest.fixture(scope="session")
def transcribed(env: dict[str, str]) -> dict[str, Any]:
    """What `parakeetd transcribe --format json` says of each shipped clip, by the stem of its file name."""
    outcome = run(
        "transcribe", "--model", "demo", "--format", "json", *(clip.path for clip in shipped_clips()), env=env
    )
    answers = [json.loads(line) for line in outcome.out.splitlines()]
    return {Path(answer["file"]).stem: answer for answer in answers}


@pytest.fixture
def wav(tmp_path: Path) -> Callable[[Clip], Path]:
    """Writes a clip as the WAV file that Riva's clients want, with its own rate and channels."""

    def write(clip: Clip) -> Path:
        samples, rate = soundfile.read(clip.path, dtype="int16")
        file = tmp_path / f"{clip.path.stem}.wav"
        soundfile.write(file, np.asarray(samples), rate, subtype="PCM_16")
        return file

    return write


@pytest.fixture
def sound() -> Iterator[VirtualSound]:
    with virtual_sound() as running:
        yield running


@pytest.fixture
def socket(sound: VirtualSound, tmp_path: Path) -> Iterator[str]:
    """Of a daemon that hears this sound server."""
    address = f"unix:{sound.folder}/daemon.sock"
    env = home(tmp_path) | sound.env
    with served("--model", "demo", "--listen", address, env=env, seconds=900) as daemon:
        yield daemon.addresses[0]
