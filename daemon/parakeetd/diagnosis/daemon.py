"""What a daemon that runs already says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from parakeetd.diagnosis.check import Check
from parakeetd.errors import CallFailed
from parakeetd.rpc.remote_control import RemoteControl
from parakeetd.rpc.standing import Standing

SUBJECT: Final = "daemon"


def daemon_checks(socket: str | None) -> Iterator[Check]:
    """Ask the one at this unix socket, if there is one.

    Args:
        socket: its address; None when none is configured.
    """
    if socket is None or not Path(socket.removeprefix("unix:")).is_socket():
        yield Check(SUBJECT, "note", "none runs" + (f" at {socket}" if socket else ""))
        return
    try:
        yield from standing_checks(RemoteControl(socket).status())
    except CallFailed as error:
        yield Check(SUBJECT, "note", str(error))


def standing_checks(standing: Standing) -> Iterator[Check]:
    """What is worth knowing of a daemon that has answered."""
    finding = (
        f"{standing.summary}; process {standing.pid}, "
        f"{standing.streams} of {standing.max_streams} streams are open"
    )
    yield Check(SUBJECT, "ok" if standing.state == "serving" else "note", finding)
    for model in standing.models:
        for device in model.devices:
            if not device.failures and not device.failure:
                continue
            times = "once" if device.failures == 1 else f"{device.failures} times"
            last = f", last: {device.failure}" if device.failure else ", and works again"
            yield Check(
                f"{SUBJECT}, {model.name} on {device.device}",
                "note" if device.healthy else "problem",
                f"failed {times}{last}",
            )
