"""`parakeetd start`, `stop`, `toggle`, `cancel` and `listen` without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Command


@pytest.mark.parametrize("command", ["start", "stop", "toggle", "cancel", "listen"])
def test_a_daemon_that_is_not_there_is_one_line_that_says_how_to_start_it(
    parakeetd: Command, tmp_path: Path, command: str
) -> None:
    outcome = parakeetd(command, "--socket", f"unix:{tmp_path}/no.sock")
    assert outcome.code == 1
    assert outcome.error == (
        f"parakeetd: no daemon listens at unix:{tmp_path}/no.sock; start it with: parakeetd serve"
    )


def test_without_a_runtime_folder_the_socket_must_be_named(parakeetd: Command) -> None:
    outcome = parakeetd("start")
    assert outcome.code == 2
    assert "XDG_RUNTIME_DIR is not set" in outcome.error
