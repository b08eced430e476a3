"""The Wyoming protocol, by which Home Assistant has speech recognised. It has no authentication."""

from __future__ import annotations

import asyncio

from wyoming.info import AsrModel, AsrProgram, Attribution, Info

from parakeetd import __version__
from parakeetd.adapters.listener import GOODBYE_SECONDS, Listener
from parakeetd.adapters.wyoming_events import EventReader
from parakeetd.adapters.wyoming_talk import Talk
from parakeetd.entrance.access import Access
from parakeetd.entrance.address import Address, TcpAddress
from parakeetd.entrance.asked import Asked
from parakeetd.entrance.limits import CallLimits
from parakeetd.session import ServedModel, Sessions
from parakeetd.text import HouseStyle

_MADE_BY = Attribution(name="parakeetd", url="")


class WyomingAdapter:
    """Serves Wyoming at one address."""

    name = "Wyoming"

    def __init__(
        self, sessions: Sessions, house: HouseStyle, address: Address, access: Access, limits: CallLimits
    ) -> None:
        self.house = house
        """How the text of new streams is written."""
        self._sessions = sessions
        self._limits = limits
        self._asked = Asked(sessions.models)
        self._listener = Listener(address, "adapters.wyoming", socket_group=access.socket_group)
        self._talks: dict[asyncio.Task[None], Talk] = {}

    async def start(self) -> str:
        """
        Raises:
            ListenError: the address cannot be bound.
        """

        def protocol() -> asyncio.BaseProtocol:
            reader = EventReader()
            return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._connected(reader, writer))

        await self._listener.open(protocol, lambda: len(self._talks) >= self._limits.max_connections)
        address = self._listener.address
        return f"tcp://{address}" if isinstance(address, TcpAddress) else f"unix://{address.path}"

    async def close(self) -> None:
        """Take no more connections. Those at which a stream is being answered have a moment; the others end."""
        self._listener.close()
        if busy := {task for task, talk in self._talks.items() if talk.busy}:
            await asyncio.wait(busy, timeout=GOODBYE_SECONDS)
        ending = list(self._talks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _connected(self, reader: EventReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(
            self._sessions,
            reader,
            writer,
            self._limits,
            self._asked,
            house=lambda: self.house,
            info=self._info,
        )
        # asyncio makes a task of this one, but does not say which.
        task = asyncio.create_task(talk.run(), name="parakeetd-wyoming")
        self._talks[task] = talk
        left = asyncio.create_task(reader.left.wait())
        try:
            # Who has left is not worked for, whatever is being done.
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            task.cancel()
            await asyncio.wait({task})
            del self._talks[task]
            writer.close()

    def _info(self) -> Info:
        """What is served, the default model first."""
        return Info(
            asr=[
                AsrProgram(
                    name="parakeetd",
                    attribution=_MADE_BY,
                    installed=True,
                    description="Parakeet speech recognition on this machine",
                    version=__version__,
                    models=[_model(served) for served in self._sessions.models.serving],
                    supports_transcript_streaming=True,
                )
            ]
        )


def _model(served: ServedModel) -> AsrModel:
    return AsrModel(
        name=served.name,
        attribution=_MADE_BY,
        installed=True,
        description=f"Parakeet model {served.name}",
        version=None,
        languages=list(served.languages),
    )
