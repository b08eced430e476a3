"""`parakeetd dictate`: what is said into the microphone is typed into the window that has the focus."""

from __future__ import annotations

import asyncio
from typing import cast

import click

from parakeetd.cli.following import followed
from parakeetd.cli.microphone import DEVICE, SOCKET, in_words, socket_address
from parakeetd.config import desktop_session
from parakeetd.dictation import Event, Final, State
from parakeetd.errors import MicrophoneError, TypingError
from parakeetd.keyboard import WAYS, Typist, WayName, ways_of


@click.command("dictate")
@DEVICE
@click.option(
    "--with",
    "way",
    type=click.Choice(WAYS),
    help="How to type. Default: what works here, of wtype, ydotool and the clipboard under Wayland, of xdotool, "
    "ydotool and the clipboard under X11.",
)
@click.option(
    "--stay",
    is_flag=True,
    help="Open no microphone: type what is said between any `parakeetd start` and `stop`, until Ctrl-C.",
)
@SOCKET
def command(device: str, way: str | None, stay: bool, socket: str | None) -> None:
    """Type what is said into the microphone into the window that has the focus, until Ctrl-C.

    Each utterance is typed when it has ended. With --stay, and a key of the desktop bound to `parakeetd toggle`, that
    key switches dictation on and off.

    \b
    Examples:
      parakeetd dictate
      parakeetd dictate --stay
      parakeetd dictate --with clipboard
    """
    ways = ways_of(desktop_session(), (cast(WayName, way),) if way else ())
    last = asyncio.run(_dictate(socket_address(socket), device, Typist(ways, _say), stay=stay))
    if last.problem:
        raise MicrophoneError(last.problem)


async def _dictate(address: str, device: str, typist: Typist, *, stay: bool) -> State:
    await typist.begin()
    _say(f"typing with: {typist.way.name if typist.way else ''}")
    shown, session = "", 0

    async def take(event: Event) -> None:
        nonlocal shown, session
        if isinstance(event, State) and event.session != session:
            session = event.session
            typist.fresh()
        match event:
            case State() if (line := in_words(event)) != shown:
                shown = line
                _say(line)
            case Final():
                try:
                    await typist.type(event.added)
                except TypingError as error:
                    # What cannot be typed is not lost, and the next text may well work.
                    _say(str(error))
                    click.echo(event.text)

    try:
        return await followed(address, device, take, stay=stay)
    finally:
        await typist.close()


def _say(line: str) -> None:
    click.echo(line, err=True)
