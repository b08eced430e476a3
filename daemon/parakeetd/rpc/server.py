"""The gRPC server: what it offers, where it listens, how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from grpc_health.v1 import health_pb2

from parakeetd.dictation import Dictation
from parakeetd.entrance.access import Access, check_exposure, exposed
from parakeetd.entrance.address import Address, UnixAddress, parse_address
from parakeetd.entrance.limits import CallLimits, make_room
from parakeetd.entrance.token import Tokens
from parakeetd.errors import ListenError
from parakeetd.rpc.control import SERVICE as CONTROL
from parakeetd.rpc.control import ControlServicer, Steward
from parakeetd.rpc.door import Door
from parakeetd.rpc.gate import Gate
from parakeetd.rpc.riva import SERVICE, STREAMS, RivaServicer
from parakeetd.rpc.tls import certificates
from parakeetd.session import Sessions
from parakeetd.text import HouseStyle, read_tables
from parakeetd_proto import control_pb2_grpc, riva_asr_pb2_grpc

_log = logging.getLogger(__name__)

_GOODBYE_SECONDS: Final = 1.0
"""Time for the last statuses to leave, and for calls that only watch."""


class RpcServer:
    """Serves one daemon's sessions. Make it, start it, drain it; each once, in one event loop."""

    def __init__(
        self,
        sessions: Sessions,
        addresses: Sequence[str],
        house: HouseStyle | None = None,
        steward: Steward | None = None,
        *,
        dictation: Dictation | None = None,
        access: Access | None = None,
        limits: CallLimits | None = None,
    ) -> None:
        """Prepare to listen on addresses such as `127.0.0.1:50051` and `unix:/path`.

        Args:
            house: how text is written; as shipped when not given.
            steward: answers the Control service, which only unix sockets offer; without it none does.
            dictation: the microphone that Control switches.
            access: who may connect.
            limits: of calls; those of streams are the sessions'.

        Raises:
            ListenError: an address cannot be understood, or other machines could reach it and nothing guards it.
            ConfigError: a certificate, key or file of tokens cannot be used.
        """
        self._sessions = sessions
        self._riva = RivaServicer(sessions, house or HouseStyle(read_tables()))
        self._steward = steward
        self._dictation = dictation
        self._wanted = tuple(parse_address(text) for text in addresses)
        self._access = access or Access()
        self._limits = limits or CallLimits()
        check_exposure(self._wanted, self._access)
        self._certificates = certificates(self._access)
        file = self._access.token_file
        self._tokens = None if file is None else Tokens(file)
        self._doors: tuple[Door, ...] = ()
        self.addresses: tuple[str, ...] = ()
        """Where it listens, with the real port where 0 was asked for. Empty before the start."""

    def use_house(self, house: HouseStyle) -> None:
        """Write the text of new streams by this."""
        self._riva.house = house

    async def start(self, *, ready: bool = True) -> None:
        """Bind every address and answer calls.

        Args:
            ready: False while there is no model yet; health says so until `be_ready`.

        Raises:
            ListenError: an address cannot be bound; none is bound then.
        """
        for warning in exposed(self._wanted, self._access):
            _log.warning("%s", warning)
        make_room(self._limits.max_connections)
        doors = {kind: self._door(kind) for kind in dict.fromkeys(map(type, self._wanted))}
        self._doors = tuple(doors.values())
        try:
            self.addresses = tuple(str(doors[type(address)].bind(address)) for address in self._wanted)
        except ListenError:
            # A server that has never run does not give back what it has bound.
            for door in self._doors:
                await door.server.start()
                await door.server.stop(None)
            raise
        for kind, door in doors.items():
            riva_asr_pb2_grpc.add_RivaSpeechRecognitionServicer_to_server(self._riva, door.server)
            always: list[str] = []
            if kind is UnixAddress and self._steward is not None:
                control_pb2_grpc.add_ControlServicer_to_server(
                    ControlServicer(self._steward, self._dictation), door.server
                )
                # It answers while models are loaded, too.
                always.append(CONTROL)
            await door.open([SERVICE], ready=ready, always=always)

    async def be_ready(self) -> None:
        """Health says from now on that streams are taken."""
        for door in self._doors:
            for service in ("", SERVICE):
                await door.health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_seconds: float, flush_seconds: float) -> None:
        """End: health first, then new streams are refused, then those in progress finish.

        A client that goes on sending after `grace_seconds` is answered for what it sent, and its stream ends
        with UNAVAILABLE. What is left `flush_seconds` later is cancelled. Takes two seconds more at most.
        """
        try:
            # A client that watches health and does not read must not hold this up.
            await asyncio.wait_for(
                asyncio.gather(*(door.health.enter_graceful_shutdown() for door in self._doors)),
                _GOODBYE_SECONDS,
            )
        except TimeoutError:
            _log.warning("a client that watches the daemon's health does not read what it is told")
        if not await self._sessions.drain(grace_seconds, flush_seconds):
            _log.warning("%d streams did not end in time and are cancelled", self._sessions.active)
        await asyncio.gather(*(door.server.stop(_GOODBYE_SECONDS) for door in self._doors))

    def _door(self, kind: type[Address]) -> Door:
        max_streams = self._sessions.settings.max_streams
        if kind is UnixAddress:
            # The mode of its file has decided who comes this far.
            gate = Gate(self._sessions, STREAMS, self._limits, None)
            return Door(gate, self._limits, max_streams, socket_group=self._access.socket_group)
        gate = Gate(self._sessions, STREAMS, self._limits, self._tokens)
        credentials = self._certificates.credentials() if self._certificates else None
        return Door(gate, self._limits, max_streams, credentials=credentials)
