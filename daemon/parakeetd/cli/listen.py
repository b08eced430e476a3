"""`parakeetd listen`: live captions from the daemon's microphone."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing

import click

from parakeetd.cli.captions import Captions, captions
from parakeetd.cli.microphone import DEVICE, SOCKET, socket_address
from parakeetd.dictation import State
from parakeetd.errors import MicrophoneError
from parakeetd.rpc.remote import RemoteMicrophone


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
    asyncio.run(_listen(socket_address(socket), device))


async def _listen(address: str, device: str) -> None:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        interrupted.set()
        # The second time nothing is waited for.
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, interrupt)
    async with RemoteMicrophone(address) as microphone:
        watching = asyncio.Event()
        with captions() as shown:
            show = asyncio.create_task(_show(microphone, shown, watching))
            ready = asyncio.create_task(watching.wait())
            try:
                # Watched before it is started, so that nothing is missed.
                await asyncio.wait({show, ready}, return_when=asyncio.FIRST_COMPLETED)
                if not show.done():
                    await microphone.start(device)
                    stop = asyncio.create_task(interrupted.wait())
                    await asyncio.wait({show, stop}, return_when=asyncio.FIRST_COMPLETED)
                    stop.cancel()
                if not show.done():
                    await microphone.stop()
                last = await show
            finally:
                show.cancel()
                ready.cancel()
    if last.problem:
        raise MicrophoneError(last.problem)


async def _show(microphone: RemoteMicrophone, shown: Captions, watching: asyncio.Event) -> State:
    """Show all that happens until the session ends, whoever ends it; its last state."""
    begun = False
    state = State()
    async with aclosing(microphone.watch(levels=True)) as events:
        async for event in events:
            watching.set()
            shown.show(event)
            if isinstance(event, State):
                state = event
                begun = begun or state.phase != "idle"
                if begun and state.phase == "idle":
                    break
    return state
