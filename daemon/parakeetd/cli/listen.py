"""`parakeetd listen`: live captions from the daemon's microphone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from parakeetd.cli.caption_file import CaptionFile
from parakeetd.cli.captions import captions
from parakeetd.cli.event_lines import Waybar, json_line
from parakeetd.cli.following import Happening, followed, followed_always
from parakeetd.cli.microphone import DEVICE, SOCKET, socket_address
from parakeetd.dictation import Loudness, State
from parakeetd.errors import MicrophoneError

Show = Callable[[Happening], None]


@click.command("listen")
@DEVICE
@click.option(
    "--stay",
    is_flag=True,
    help="Open no microphone: show what is said between any `parakeetd start` and `stop`, until Ctrl-C. A daemon that "
    "is not there is waited for.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "waybar"]),
    default="text",
    show_default=True,
    help="text: captions, or in a pipe a line for each utterance; json: an event a line; waybar: a line whenever a "
    "module of Waybar's is to look different.",
)
@click.option("--levels", is_flag=True, help="With --format json: how loud it is, too, ten times a second.")
@click.option(
    "--captions",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep what was said last in FILE, for a program that shows a text file, such as OBS. Overwrites it.",
)
@click.option(
    "--lines",
    type=click.IntRange(1, 20),
    metavar="N",
    help="With --captions: so many lines of 42 letters. Default: 2.",
)
@SOCKET
def command(
    device: str,
    stay: bool,
    form: str,
    levels: bool,
    file: Path | None,
    lines: int | None,
    socket: str | None,
) -> None:
    """Show what is said into the microphone, while it is said, until Ctrl-C.

    Opens the microphone of the running daemon, if it is not open already. In a terminal the text of the open utterance
    is redrawn in place; in a pipe there is a line for each utterance that has ended.

    \b
    Examples:
      parakeetd listen
      parakeetd listen --device headset
      parakeetd listen > notes.txt
      parakeetd listen --captions captions.txt
      parakeetd listen --stay --format json | while read -r event; do ...; done
    """
    if levels and form != "json":
        raise click.UsageError("--levels is for --format json")
    if lines is not None and file is None:
        raise click.UsageError("--lines is for --captions FILE")
    if stay and device:
        raise click.UsageError("--device and --stay: with --stay no microphone is opened")
    last = asyncio.run(
        _listen(socket_address(socket), device, form, file, lines or 2, stay=stay, levels=levels)
    )
    if last.problem:
        raise MicrophoneError(last.problem)


async def _listen(
    address: str, device: str, form: str, file: Path | None, lines: int, *, stay: bool, levels: bool
) -> State:
    with ExitStack() as undo:
        shows = [undo.enter_context(captions()) if form == "text" else _lines(form, levels=levels)]
        if file is not None:
            shows.append(undo.enter_context(_kept(file, lines)))

        async def show(event: Happening) -> None:
            for one in shows:
                one(event)

        if stay:
            await followed_always(address, show, levels=levels or form == "text")
            return State()
        return await followed(address, device, show)


def _lines(form: str, *, levels: bool) -> Show:
    line, shown = (Waybar().line if form == "waybar" else json_line), ""

    def show(event: Happening) -> None:
        nonlocal shown
        if isinstance(event, Loudness) and not levels:
            return
        new = line(event)
        if form == "json" or new != shown:
            shown = new
            # A reader at the other end of a pipe is to have it now: click flushes.
            click.echo(new)

    return show


@contextmanager
def _kept(file: Path, lines: int) -> Iterator[Show]:
    kept = CaptionFile(file, lines)
    try:
        yield kept.take
    finally:
        kept.clear()
