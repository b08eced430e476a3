"""What systemd is asked to do: which calls, decided without making them, and one place that makes them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from parakeetd.errors import SetupError
from parakeetd.setup.places import UNIT

Call = tuple[str, ...]
"""Words after `systemctl`."""

JOURNAL_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class State:
    """What a manager knows of the unit."""

    loaded: bool
    enabled: bool
    active: bool
    """It runs, is being started, or is being restarted again and again."""


def calls_to_run(state: State, *, unit_changed: bool, settings_changed: bool) -> list[Call]:
    """What makes a unit run from now on and at each start, by its current files. The last waits until it is ready."""
    calls: list[Call] = [("daemon-reload",)] if unit_changed or not state.loaded else []
    if not state.enabled:
        calls.append(("enable", UNIT))
    if unit_changed or settings_changed or not state.active:
        # One that has failed too often is not started otherwise.
        calls += [("reset-failed", UNIT)] if state.loaded else []
        calls.append(("restart", UNIT))
    return calls


def calls_to_stop(state: State) -> list[Call]:
    """What ends a unit and has it not start again; before its file is removed."""
    calls: list[Call] = [("stop", UNIT)] if state.active else []
    return [*calls, ("disable", UNIT)] if state.enabled else calls


def calls_to_forget() -> list[Call]:
    """After its file is removed."""
    return [("daemon-reload",), ("reset-failed", UNIT)]


class NotReady(SetupError):
    """The service was started and ended, or took too long."""


MAY_FAIL: Final = ("reset-failed",)
"""Fails where there is nothing to reset."""


class Manager:
    """systemd's manager of the machine or of this user."""

    def __init__(self, *, system: bool) -> None:
        """
        Raises:
            SetupError: there is none.
        """
        self.system = system
        self._scope: Call = () if system else ("--user",)
        if shutil.which("systemctl") is None:
            raise SetupError(
                "systemctl is not here: this machine is not run by systemd; start the daemon with: parakeetd serve"
            )
        done = self._run("show", "--property=Version", "--value")
        if done.returncode or not done.stdout.strip():
            raise SetupError(self._unreachable(" ".join(done.stderr.split())))

    def state(self) -> State:
        wanted = ("LoadState", "UnitFileState", "ActiveState")
        shown = dict(
            line.partition("=")[::2]
            for line in self._run(
                "show", UNIT, *(f"--property={name}" for name in wanted)
            ).stdout.splitlines()
        )
        return State(
            loaded=shown.get("LoadState") == "loaded",
            enabled=shown.get("UnitFileState") in ("enabled", "linked", "alias"),
            active=shown.get("ActiveState") in ("active", "activating", "reloading", "deactivating"),
        )

    def call(self, call: Sequence[str]) -> None:
        """Make a call and wait for it.

        Raises:
            NotReady: the service did not start.
            SetupError: anything else failed.
        """
        done = self._run(*call)
        if done.returncode == 0 or call[0] in MAY_FAIL:
            return
        said = " ".join(done.stderr.split())
        if call[0] in ("start", "restart"):
            raise NotReady(
                f"the service did not become ready ({said.partition(' See ')[0]}); see: {self.words(('status', UNIT))}"
            )
        raise SetupError(f"{self.words(call)} failed: {said}")

    def words(self, call: Sequence[str]) -> str:
        """A call as a person would type it."""
        return " ".join(("systemctl", *self._scope, *call))

    def journal(self) -> list[str]:
        """What the service said last; nothing where the journal cannot be read."""
        if shutil.which("journalctl") is None:
            return []
        unit = ("--unit" if self.system else "--user-unit", UNIT)
        command = [
            "journalctl",
            *unit,
            "--lines",
            str(JOURNAL_LINES),
            "--output=cat",
            "--no-pager",
            "--quiet",
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        return [line for line in done.stdout.splitlines() if line.strip()]

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["systemctl", "--no-pager", "--no-ask-password", *self._scope, *words]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)

    def _unreachable(self, said: str) -> str:
        if self.system:
            return f"systemd does not answer ({said}); start the daemon with: parakeetd serve"
        return (
            f"systemd does not answer for this user ({said}); log in at the machine or by ssh (not with su or sudo), "
            "or have the user's services run without a login: loginctl enable-linger USER"
        )
