"""`parakeetd listen`: live captions from the daemon's microphone."""

from __future__ import annotations

import asyncio

import click

from parakeetd.cli.captions import captions
from parakeetd.cli.following import followed
from parakeetd.cli.microphone import DEVICE, SOCKET, socket_address
from parakeetd.dictation import Event, State
from parakeetd.errors import MicrophoneError


@click.command("listen")
@DEVICE
@SOCKET
def command(device: str, socket: str | None) -> None:
    """Show what is said into the microphone, while it is said, until Ctrl-C.

    Opens the microphone of the running daemon, if it is not open already. In a terminal the text of the open utterance
    is redrawn in place; in a pipe there is a line for each utterance that has ended.

    \b
    Examples:
      parakeetd listen
      parakeetd listen --device headset
      parakeetd listen > notes.txt
    """
    last = asyncio.run(_listen(socket_address(socket), device))
    if last.problem:
        raise MicrophoneError(last.problem)


async def _listen(address: str, device: str) -> State:
    with captions() as shown:

        async def show(event: Event) -> None:
            shown.show(event)

        return await followed(address, device, show)
