"""A sound server of the tests' own, with microphones that can be spoken into, unplugged and suspended.

With `PARAKEETD_SOUND=pipewire` it is PipeWire in PulseAudio's place, with WirePlumber, where these are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from parakeetd.audio import SAMPLE_RATE, Samples

TOOLS = ("pactl", "parec", "paplay")

PACKAGES = {
    "pulseaudio": "pulseaudio pulseaudio-utils",
    "pipewire": "pipewire pipewire-pulse wireplumber dbus-daemon pulseaudio-utils",
}

PROGRAMS = {
    "pulseaudio": ("pulseaudio",),
    "pipewire": ("pipewire", "wireplumber", "pipewire-pulse", "dbus-daemon"),
}

AT_OUR_RATE = f"""context.properties = {{
    default.clock.rate = {SAMPLE_RATE}
    default.clock.allowed-rates = [ {SAMPLE_RATE} ]
}}
"""
"""Samples arrive as they were spoken."""

FORM = ("--raw", f"--rate={SAMPLE_RATE}", "--channels=1", "--format=s16le")

QUIETLY = ("-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no")

START_SECONDS = 20.0

PLAYER_BUFFER_MSEC = 2000
"""Stalls leave no hole in what is said, unless they come close to a second. With 50 ms, those of a tenth do."""

DRAIN_SECONDS = 2.0
"""What lies between a program and the loudspeaker has been played after so long."""


@dataclass
class Microphone:
    """A loudspeaker that nobody hears, and a source that delivers what it plays."""

    name: str
    module: str
    hum: subprocess.Popen[bytes]
    """Plays silence, so that the source delivers at the pace of a microphone from the first moment on."""

    @property
    def sink(self) -> str:
        return f"{self.name}-speaker"


@dataclass
class VirtualSound:
    """The server, its folder and its microphones."""

    folder: Path
    """`$XDG_RUNTIME_DIR` of those who are to find it."""
    server: str = "pulseaudio"
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    microphones: dict[str, Microphone] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What programs need in their environment to find it, and no other."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
            "PULSE_SERVER": f"unix:{self.folder}/pulse/native",
        }

    def start(self) -> None:
        """Run the server, with no microphone."""
        if self.server == "pipewire":
            self._start_pipewire()
        else:
            self._run("pulseaudio", *QUIETLY, "-L", "module-native-protocol-unix")
        self._wait("pactl", "info")

    def _start_pipewire(self) -> None:
        settings = self.folder / ".config" / "pipewire" / "pipewire.conf.d"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "rate.conf").write_text(AT_OUR_RATE)
        # WirePlumber does not run without a session bus.
        self._run("dbus-daemon", "--session", "--nofork", f"--address={self._bus}")
        self._wait("dbus-send", f"--bus={self._bus}", "--print-reply", "--dest=org.freedesktop.DBus",
                   "/org/freedesktop/DBus", "org.freedesktop.DBus.GetId")  # fmt: skip
        self._run("pipewire")
        self._wait("pw-cli", "info", "0")
        self._run("wireplumber")
        self._run("pipewire-pulse")

    @property
    def _bus(self) -> str:
        return f"unix:path={self.folder}/bus"

    def _run(self, *command: str) -> None:
        with (self.folder / "sound.log").open("ab") as log:
            own = {"DBUS_SESSION_BUS_ADDRESS": self._bus}
            self.processes.append(subprocess.Popen(command, env=self.env | own, stdout=log, stderr=log))

    def _wait(self, *command: str) -> None:
        """Until this works."""
        ends = time.monotonic() + START_SECONDS
        while subprocess.run(command, env=self.env, capture_output=True, check=False).returncode:
            if time.monotonic() > ends:
                raise AssertionError(f"{self.server}: {(self.folder / 'sound.log').read_text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server without a warning, with all that is in it."""
        while self.processes:
            _end(self.processes.pop())
        for microphone in self.microphones.values():
            _end(microphone.hum)
        self.microphones.clear()

    def plug(self, name: str, title: str = "") -> Microphone:
        """A new microphone.

        Args:
            title: its name for people.
        """
        form = f"rate={SAMPLE_RATE} channels=1 format=s16le"
        self.control("load-module", "module-null-sink", f"sink_name={name}-speaker", *form.split())
        module = self.control(
            "load-module", "module-remap-source", f"source_name={name}", f"master={name}-speaker.monitor",
            f"source_properties=\"device.description='{title or f'{name}-for-tests'}'\"",
        )  # fmt: skip
        hum = subprocess.Popen(
            ["pacat", "--playback", *FORM, "--latency-msec=20", f"--device={name}-speaker", "/dev/zero"],
            env=self.env,
            stderr=subprocess.DEVNULL,
        )
        # At first the loudspeaker works in steps of two seconds; after the first samples it does as `hum` wants it.
        heard = ["parec", *FORM, "--latency-msec=20", f"--device={name}"]
        with subprocess.Popen(heard, env=self.env, stdout=subprocess.PIPE) as first:
            if first.stdout is not None:
                first.stdout.read(3200)
            first.kill()
        self.microphones[name] = Microphone(name, module, hum)
        return self.microphones[name]

    def unplug(self, name: str) -> None:
        """Take a microphone away. Its loudspeaker stays, as those of a computer do."""
        microphone = self.microphones.pop(name)
        self.control("unload-module", microphone.module)
        _end(microphone.hum)

    def make_default(self, name: str) -> None:
        self.control("set-default-source", name)

    def suspend(self, name: str, *, suspended: bool) -> None:
        if self.server == "pipewire":
            pytest.skip("PipeWire does not suspend a source that is being recorded")
        self.control("suspend-source", name, str(int(suspended)))

    def play(self, samples: Samples, name: str) -> subprocess.Popen[bytes]:
        """Speak into a microphone: returns at once, the process ends when all has been said."""
        file = tempfile.NamedTemporaryFile(dir=self.folder, suffix=".raw", delete=False)  # noqa: SIM115
        with file:
            file.write(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        sink = self.microphones[name].sink
        command = ["paplay", *FORM, f"--latency-msec={PLAYER_BUFFER_MSEC}", f"--device={sink}", file.name]
        if self.server == "pipewire":
            # There paplay sometimes waits for ever to be told that all has been played.
            seconds = len(samples) / SAMPLE_RATE + DRAIN_SECONDS
            command = ["sh", "-c", 'timeout "$@" || [ $? = 124 ]', "sh", str(seconds), *command]
        return subprocess.Popen(command, env=self.env)

    def control(self, *arguments: str) -> str:
        """Run `pactl` and return what it prints."""
        done = subprocess.run(
            ["pactl", *arguments], env=self.env, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"pactl {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@contextmanager
def virtual_sound() -> Iterator[VirtualSound]:
    """A server that runs, with the microphone `mic` as its default; skips where it is not installed."""
    server = os.environ.get("PARAKEETD_SOUND", "pulseaudio")
    missing = [program for program in (*PROGRAMS[server], *TOOLS) if not shutil.which(program)]
    if missing:
        problem = f"{', '.join(missing)} missing; install it with: apt-get install {PACKAGES[server]}"
        if os.environ.get("PARAKEETD_NEED_SOUND"):
            pytest.fail(problem)
        pytest.skip(problem)
    with ExitStack() as undo:
        # A socket's path must be short.
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="pk-sound-")))
        folder.chmod(0o700)
        sound = VirtualSound(folder, server)
        undo.callback(sound.kill)
        sound.start()
        sound.plug("mic")
        sound.make_default("mic")
        yield sound
