"""A child process from the parent's side: start it, ask it, end it, and log what it says."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

from parakeetd import __version__
from parakeetd.audio import Samples
from parakeetd.child import frames, messages
from parakeetd.errors import DeviceError
from parakeetd.model.sessions import Device

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-P", "-m", "parakeetd.child")
"""`-P`: modules of the folder that the daemon was started in are not ours."""

LEAVE_SECONDS: Final = 2.0
"""A child that is told to leave and has not left by then is killed."""

EXIT_SECONDS: Final = 5.0
"""A process that has closed its end of the line, or was killed, is gone by then."""

_OF_THE_DAEMON: Final = re.compile(r"NOTIFY_SOCKET|WATCHDOG_|LISTEN_")
"""What systemd tells its service and nobody else."""

_LEVEL: Final = re.compile(r"<(\d)>(.*)", re.DOTALL)
_LEVELS: Final = {"3": logging.ERROR, "4": logging.WARNING, "6": logging.INFO, "7": logging.DEBUG}


class Process:
    """A child that runs. `ask` may be called by one thread at a time, `kill` by any."""

    def __init__(self, device: Device, command: Sequence[str] = COMMAND) -> None:
        """
        Raises:
            DeviceError: it cannot be started.
        """
        self.device = device
        self._killed_for: str | None = None
        self._line, theirs = socket.socketpair()
        with theirs:
            arguments = [
                str(theirs.fileno()),
                str(os.getpid()),
                logging.getLevelName(log.getEffectiveLevel()),
            ]
            try:
                self._process = subprocess.Popen(
                    [*command, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    env={name: value for name, value in os.environ.items() if not _OF_THE_DAEMON.match(name)},
                    # Ctrl-C in a terminal is for the daemon, which still has segments to be answered.
                    process_group=0,
                )
            except OSError as error:
                self._line.close()
                raise DeviceError(device, f"its process cannot be started: {error}") from error
        threading.Thread(
            target=self._log_what_it_says,
            name=f"parakeetd-{device}-log",
            args=(self._process.stdout,),
            daemon=True,
        ).start()

    @property
    def pid(self) -> int | None:
        """None when it has ended."""
        return self._process.pid if self._process.poll() is None else None

    def greet(self, timeout: float) -> None:
        """Wait until it is there.

        Raises:
            DeviceError: it ended instead, or is of another version.
        """
        version = self._exchange(None, (), timeout).get("version")
        if version != __version__:
            raise DeviceError(
                self.device,
                f"this is parakeetd {__version__} and {version} is installed by now; restart the daemon",
            )

    def ask(
        self, fields: Mapping[str, Any], pieces: Sequence[Samples] = (), timeout: float | None = None
    ) -> Mapping[str, Any]:
        """Its answer to a request.

        Raises:
            Exception: the child's own, or DeviceError when it has ended or did not answer in time.
        """
        answer = self._exchange(fields, pieces, timeout)
        if "error" in answer:
            raise messages.error_of(answer, self.device)
        return answer

    def kill(self, reason: str) -> None:
        """End it now, whatever it does; who waits for its answer is told the reason."""
        self._killed_for = self._killed_for or reason
        self._process.kill()

    def end(self) -> None:
        """Let it leave; it is gone when this returns."""
        self._line.close()
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            try:
                self._process.wait(EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                # Stuck in the kernel, as in a broken driver. It goes when the driver lets it go.
                log.error("process %d of device %s does not end", self._process.pid, self.device)

    def _exchange(
        self, fields: Mapping[str, Any] | None, pieces: Sequence[Samples], timeout: float | None
    ) -> Mapping[str, Any]:
        self._line.settimeout(timeout)
        try:
            if fields is not None:
                frames.send(self._line, fields, pieces)
            return frames.receive(self._line).fields
        except TimeoutError:
            self.kill(f"no answer after {timeout:.0f} s")
        except frames.FrameError as error:
            self.kill(f"its process spoke nonsense: {error}")
        except frames.Ended:
            pass
        raise DeviceError(self.device, self._how_it_ended())

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill("its process closed the line and stayed")
            code = 0
        if self._killed_for:
            return self._killed_for
        how = f"was ended by {_name_of_signal(-code)}" if code < 0 else f"ended with status {code}"
        return f"its process {how}"

    def _log_what_it_says(self, output: IO[bytes]) -> None:
        """Line by line. A level stands before those that its own code logs, as systemd has it; others are of a library
        or of Python as it dies."""
        with output:
            for line in output:
                text = line.decode(errors="replace").rstrip()
                found = _LEVEL.match(text)
                level, text = (found[1], found[2]) if found else ("4", text)
                if text:
                    log.log(
                        _LEVELS.get(level, logging.WARNING),
                        "%s[%d]: %s",
                        self.device,
                        self._process.pid,
                        text,
                    )


def _name_of_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
