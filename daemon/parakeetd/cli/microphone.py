"""`parakeetd start`, `stop`, `toggle` and `cancel`: the microphone of the running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import click

from parakeetd.dictation import State
from parakeetd.errors import InputError
from parakeetd.paths import Paths
from parakeetd.rpc.remote import RemoteMicrophone

DEVICE = click.option(
    "--device",
    "device",
    default="",
    metavar="NAME",
    help="Microphone: its name or description, or a part of either. Default: as configured, or the default one.",
)
SOCKET = click.option(
    "--socket",
    "socket",
    metavar="ADDR",
    help="The daemon's unix socket, as it prints it. Default: unix:$XDG_RUNTIME_DIR/parakeetd/parakeetd.sock.",
)


@click.command("start")
@DEVICE
@SOCKET
def start(device: str, socket: str | None) -> None:
    """Open the daemon's microphone, and recognise what is said from now on.

    Returns when the microphone delivers; prints which one it is. The text goes to those who watch, such as
    `parakeetd listen`.

    \b
    Examples:
      parakeetd start
      parakeetd start --device headset
    """
    _switched(socket, lambda microphone: microphone.start(device))


@click.command("stop")
@SOCKET
def stop(socket: str | None) -> None:
    """Close the daemon's microphone. Returns when all that was said has been recognised.

    \b
    Examples:
      parakeetd stop
    """
    _switched(socket, RemoteMicrophone.stop)


@click.command("toggle")
@DEVICE
@SOCKET
def toggle(device: str, socket: str | None) -> None:
    """Open the daemon's microphone, or close it: for a single key.

    \b
    Examples:
      parakeetd toggle
      parakeetd toggle --device headset
    """
    _switched(socket, lambda microphone: microphone.toggle(device))


@click.command("cancel")
@SOCKET
def cancel(socket: str | None) -> None:
    """Close the daemon's microphone, and forget what was said last.

    \b
    Examples:
      parakeetd cancel
    """
    _switched(socket, RemoteMicrophone.cancel)


def socket_address(socket: str | None) -> str:
    """The address that was named, or the usual one.

    Raises:
        InputError: there is no usual one.
    """
    if socket:
        return socket if socket.startswith("unix:") else f"unix:{socket}"
    if (usual := Paths.from_environment().socket) is None:
        raise InputError("XDG_RUNTIME_DIR is not set: name the daemon's socket with --socket unix:PATH")
    return f"unix:{usual}"


def in_words(state: State) -> str:
    """How the microphone stands, in a line."""
    device = f": {state.title or state.device}" if state.title or state.device else ""
    match state.phase:
        case "idle":
            return f"closed ({state.problem})" if state.problem else "closed"
        case "interrupted":
            return f"interrupted: {state.problem}"
        case _:
            return f"{state.phase}{device}{' (muted)' if state.muted else ''}"


def _switched(socket: str | None, call: Callable[[RemoteMicrophone], Awaitable[State]]) -> None:
    async def switch() -> State:
        async with RemoteMicrophone(socket_address(socket)) as microphone:
            return await call(microphone)

    click.echo(in_words(asyncio.run(switch())))
