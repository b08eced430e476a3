"""A machine on which everything goes wrong, and a daemon on it with people who speak."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from speech_load import pair
from steady_load import Talk, judged, talk, talks
from watching import Watched, watched

CLOCK = Path(__file__).with_name("clock_jumps.c")

SPELL_SECONDS, QUIET_SECONDS = 30.0, 12.0
"""People speak for so long, and are then quiet for so long."""

SLOW_SECONDS = 2.0
"""What a file takes on the slow disk."""

STATE_BYTES = 64 * 1024
"""Of the disk for state files."""

END_OF_TALK_SECONDS = 300.0
"""A stream that is not answered so long after its audio has ended never is."""

YEARS = 10 * 365 * 86_400


@dataclass
class Endured:
    """What happened, and what came of it."""

    disk: str = ""
    """What stands for the disk of state files."""
    clock: str = ""
    faults: dict[str, int] = field(default_factory=dict)
    streams: int = 0
    utterances: int = 0
    other_words: int = 0
    """Utterances with a final of another text; a final of the other device can differ in rare words."""
    children: int = 0
    """Processes that there were for the GPU."""
    problems: list[str] = field(default_factory=list)


@dataclass
class Machine:
    """What can go wrong, by hand."""

    daemon: Watched
    state: Path
    """Folder on a disk of its own, or not."""
    slow: Path
    clock: Path | None
    own_disk: bool
    random: Random
    children: set[int] = field(default_factory=set)

    def faults(self) -> dict[str, Callable[[], bool]]:
        """By name; each tells whether it found something to harm."""
        found: dict[str, Callable[[], bool]] = {
            "child killed": lambda: self._signal_child(signal.SIGKILL),
            "child stopped": lambda: self._signal_child(signal.SIGSTOP),
            "disk full": self._fill,
            "disk has room": self._empty,
            "disk slow": lambda: self._touch(self.slow),
            "disk fast": self._fast,
            "state gone": self._forget,
            "state damaged": self._damage,
            "reload": self._reload,
        }
        if self.clock is not None:
            found["clock jumps"] = self._jump
        return found

    def _signal_child(self, number: signal.Signals) -> bool:
        child = self.child()
        if child is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(child, number)
        return True

    def child(self) -> int | None:
        """The process of the GPU, when there is one now."""
        listed = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children")
        others: list[int] = []
        # Each thread has its own children.
        for tasks in listed.parents[1].glob("*/children"):
            with suppress(OSError):
                others += [int(text) for text in tasks.read_text().split()]
        self.children.update(others)
        return others[0] if others else None

    def _fill(self) -> bool:
        if not self.own_disk:
            self.state.chmod(0o500)
            return True
        with suppress(OSError), Path(self.state, "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        return True

    def _empty(self) -> bool:
        self.state.chmod(0o700)
        Path(self.state, "filler").unlink(missing_ok=True)
        return True

    def _touch(self, file: Path) -> bool:
        file.touch()
        return True

    def _fast(self) -> bool:
        self.slow.unlink(missing_ok=True)
        return True

    def _tables(self) -> list[Path]:
        return list(self.state.glob("parakeetd/calibration/*.json"))

    def _forget(self) -> bool:
        for file in self._tables():
            file.unlink(missing_ok=True)
        return True

    def _damage(self) -> bool:
        tables = self._tables()
        for file in tables:
            with suppress(OSError):
                data = file.read_bytes()
                file.write_bytes(data[: self.random.randrange(len(data) + 1)])
        return bool(tables)

    def _reload(self) -> bool:
        self.daemon.process.send_signal(signal.SIGHUP)
        return True

    def _jump(self) -> bool:
        if self.clock is not None:
            seconds = self.random.choice((-1, 1)) * round(YEARS * self.random.random() ** 4)
            # In its place: the daemon has mapped it.
            with self.clock.open("r+b", buffering=0) as file:
                file.write(struct.pack("=q", seconds))
        return True


def endure(
    seconds: float, streams: int, seed: int, say: Callable[[str], None] = lambda _line: None
) -> Endured:
    """Let so many people speak to a daemon for so long, while faults happen."""
    made = Endured()
    with tempfile.TemporaryDirectory(prefix="parakeetd-faults-") as folder:
        state, slow, clock = Path(folder, "state"), Path(folder, "slow"), Path(folder, "clock")
        state.mkdir()
        with _disk(state) as own_disk:
            made.disk = (
                f"a tmpfs of {STATE_BYTES // 1024} KiB" if own_disk else "a folder, read-only when it is full"
            )
            environment = {
                "XDG_STATE_HOME": str(state),
                "PARAKEETD_STAND_IN": "model",
                "PARAKEETD_SLOW_DISK": f"{SLOW_SECONDS}:{slow}:{state}:{_models()}",
            }
            if library := _clock_library(Path(folder)):
                clock.write_bytes(bytes(8))
                environment |= {"LD_PRELOAD": str(library), "PARAKEETD_CLOCK": str(clock)}
            made.clock = "jumps" if library else "does not jump: there is no C compiler (cc)"
            # A machine that stands still for a while is not what is measured.
            config = f"[limits]\nmax_streams = {streams + 8}\nidle_seconds = 600\nunread_seconds = 600\n"
            with watched(config=config, environment=environment) as daemon:
                machine = Machine(daemon, state, slow, clock if library else None, own_disk, Random(seed))
                asyncio.run(_spells(machine, seconds, streams, made, say))
                if daemon.process.poll() is not None:
                    made.problems.append(f"the daemon ended by itself with {daemon.process.returncode}")
                elif (code := daemon.end()) != 0:
                    made.problems.append(f"the daemon ended with exit code {code}")
                made.problems += [f"the log says: {line}" for line in daemon.said if _is_a_mistake(line)][:20]
                made.children = len(machine.children)
    return made


def _is_a_mistake(line: str) -> bool:
    # That a device failed is what faults are for, and it is logged as an error.
    return any(words in line for words in ("Traceback", "internal error", "never retrieved", "never awaited"))


async def _spells(
    machine: Machine, seconds: float, streams: int, made: Endured, say: Callable[[str], None]
) -> None:
    clock = asyncio.get_running_loop()
    end = clock.time() + seconds
    while clock.time() < end and machine.daemon.process.poll() is None:
        lasting = min(SPELL_SECONDS, max(8.0, end - clock.time()))
        running = talks(streams, lasting)
        spell = asyncio.create_task(_spell(machine, running, lasting))
        await _harm(machine, made, spell)
        quiet = asyncio.create_task(asyncio.sleep(min(QUIET_SECONDS, max(0.0, end - clock.time()))))
        await _harm(machine, made, quiet)
        _judge(running, made)
        say(
            f"{made.utterances} utterances, {sum(made.faults.values())} faults, {len(made.problems)} problems"
        )


async def _spell(machine: Machine, running: list[Talk], lasting: float) -> None:
    begin = asyncio.get_running_loop().time() + 0.3
    tasks = [asyncio.create_task(talk(machine.daemon.address, one, begin)) for one in running]
    await asyncio.wait(tasks, timeout=lasting + END_OF_TALK_SECONDS)
    for task in tasks:
        task.cancel()


async def _harm(machine: Machine, made: Endured, meanwhile: asyncio.Task[None]) -> None:
    """One fault after the other until a task has ended."""
    faults = machine.faults()
    while not meanwhile.done():
        await asyncio.wait({meanwhile}, timeout=machine.random.uniform(0.5, 2.5))
        if machine.daemon.process.poll() is not None:
            meanwhile.cancel()
            return
        machine.child()
        kind = machine.random.choice(list(faults))
        if await asyncio.to_thread(faults[kind]):
            made.faults[kind] = made.faults.get(kind, 0) + 1


def _judge(running: list[Talk], made: Endured) -> None:
    made.streams += len(running)
    for number, one in enumerate(running):
        made.utterances += len(one.track.spoken)
        if not one.code:
            made.problems.append(f"stream {number} had not ended {END_OF_TALK_SECONDS:g} s after its audio")
        elif one.code != "OK":
            made.problems.append(f"stream {number} ended with {one.code}: {one.details}")
        for item, finals in zip(one.track.spoken, pair(one.track.spoken, one.finals), strict=True):
            made.other_words += bool(finals) and " ".join(final.text for final in finals) != item.text
    made.problems += judged(running)


def _clock_library(folder: Path) -> Path | None:
    """What is preloaded so that the wall clock can jump; None where it cannot be made."""
    compiler, library = shutil.which("cc"), folder / "clock_jumps.so"
    if compiler is None:
        return None
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(CLOCK), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def _models() -> Path:
    from parakeetd.model.bundle import EMBEDDED

    return EMBEDDED


@contextmanager
def _disk(folder: Path) -> Iterator[bool]:
    """A small file system at this folder; False where it cannot be had."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [
        mount or "",
        "-t",
        "tmpfs",
        "-o",
        f"size={STATE_BYTES},mode=0700",
        "parakeetd-faults",
        str(folder),
    ]
    if not mount or not umount or subprocess.run(command, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run([umount, str(folder)], check=True)
