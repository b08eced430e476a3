"""`parakeetd dictate`: what is said into the microphone is typed into the window that has the focus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import click

from parakeetd.cli.following import Absent, Happening, followed, followed_always
from parakeetd.cli.microphone import DEVICE, SOCKET, in_words, socket_address
from parakeetd.config import desktop_session, session_bus
from parakeetd.dictation import Final, Interim, State
from parakeetd.errors import MicrophoneError, TypingError
from parakeetd.keyboard import WAYS, Typist, WayName, ways_of

if TYPE_CHECKING:
    from parakeetd.desktop import Notification


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
    help="Open no microphone: type what is said between any `parakeetd start` and `stop`, until Ctrl-C. A daemon that "
    "is not there is waited for.",
)
@click.option("--notify", is_flag=True, help="Show what is being said in a notification of the desktop's.")
@SOCKET
def command(device: str, way: str | None, stay: bool, notify: bool, socket: str | None) -> None:
    """Type what is said into the microphone into the window that has the focus, until Ctrl-C.

    Each utterance is typed when it has ended. With --stay, and a key of the desktop bound to `parakeetd toggle`, that
    key switches dictation on and off.

    \b
    Examples:
      parakeetd dictate
      parakeetd dictate --stay --notify
      parakeetd dictate --with clipboard
    """
    if stay and device:
        raise click.UsageError("--device and --stay: with --stay no microphone is opened")
    ways = ways_of(desktop_session(), (cast(WayName, way),) if way else ())
    last = asyncio.run(_dictate(socket_address(socket), device, Typist(ways, _say), stay=stay, notify=notify))
    if last.problem:
        raise MicrophoneError(last.problem)


async def _dictate(address: str, device: str, typist: Typist, *, stay: bool, notify: bool) -> State:
    await typist.begin()
    _say(f"typing with: {typist.way.name if typist.way else ''}")
    notification = _notification() if notify else None
    shown, session = "", 0

    async def take(event: Happening) -> None:
        nonlocal shown, session
        if isinstance(event, State) and event.session != session:
            session = event.session
            typist.fresh()
        if notification is not None and (text := _to_notify(event)) is not None:
            notification.show(text)
        match event:
            case State() if (line := in_words(event)) != shown:
                shown = line
                _say(line)
            case Absent():
                shown = ""
                _say(f"{event.problem}; waiting for it")
            case Final():
                try:
                    await typist.type(event.added)
                except TypingError as error:
                    # What cannot be typed is not lost, and the next text may well work.
                    _say(str(error))
                    click.echo(event.text)

    try:
        if stay:
            await followed_always(address, take)
            return State()
        return await followed(address, device, take)
    finally:
        if notification is not None:
            await notification.close()
        await typist.close()


def _notification() -> Notification:
    from parakeetd.desktop import Notification

    return Notification(session_bus(), "Dictation", _say)


def _to_notify(event: Happening) -> str | None:
    """What the notification is to show from now on; None for the same as before."""
    match event:
        # A final is typed, and stays to be seen until the next interim.
        case Interim() | Final() if text := " ".join(event.text.replace("\b", "").split()):
            return text
        case State(phase="idle") | Absent():
            return ""
        case _:
            return None


def _say(line: str) -> None:
    click.echo(line, err=True)
