"""The microphone's calls of the Control service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import grpc

from parakeetd import dictation as said
from parakeetd.audio.level import Level
from parakeetd.dictation import Event, Interim, Loudness, Phase, State
from parakeetd.errors import MicrophoneError
from parakeetd_proto import control_pb2 as control

if TYPE_CHECKING:
    from parakeetd.dictation import Dictation

Context = grpc.aio.ServicerContext[Any, Any]

_PHASES: Final[dict[Phase, control.MicrophoneState.Phase.ValueType]] = {
    "idle": control.MicrophoneState.IDLE,
    "starting": control.MicrophoneState.STARTING,
    "listening": control.MicrophoneState.LISTENING,
    "interrupted": control.MicrophoneState.INTERRUPTED,
    "finishing": control.MicrophoneState.FINISHING,
}


class MicrophoneCalls:
    """A part of the Control service."""

    def __init__(self, dictation: Dictation | None) -> None:
        """
        Args:
            dictation: None in a daemon without a microphone.
        """
        self.dictation = dictation

    async def Start(  # noqa: N802  (the service names it)
        self, request: control.StartRequest, context: Context
    ) -> control.StartResponse:
        """Open the microphone."""
        return control.StartResponse(state=state_message(await self._there().start(request.device)))

    async def Stop(  # noqa: N802  (the service names it)
        self, request: control.StopRequest, context: Context
    ) -> control.StopResponse:
        """Close it, and recognise what was said last."""
        return control.StopResponse(state=state_message(await self._there().stop()))

    async def Toggle(  # noqa: N802  (the service names it)
        self, request: control.ToggleRequest, context: Context
    ) -> control.ToggleResponse:
        """Open or close it."""
        return control.ToggleResponse(state=state_message(await self._there().toggle(request.device)))

    async def Cancel(  # noqa: N802  (the service names it)
        self, request: control.CancelRequest, context: Context
    ) -> control.CancelResponse:
        """Close it, and forget what was said last."""
        return control.CancelResponse(state=state_message(await self._there().cancel()))

    async def Watch(  # noqa: N802  (the service names it)
        self, request: control.WatchRequest, context: Context
    ) -> AsyncIterator[control.WatchResponse]:
        """Tell all that happens."""
        with self._there().watch() as watcher:
            async for event in watcher:
                if request.levels or not isinstance(event, Loudness):
                    yield event_message(event)

    def _there(self) -> Dictation:
        if self.dictation is None:
            raise MicrophoneError("this daemon has no microphone")
        return self.dictation


def state_message(state: State) -> control.MicrophoneState:
    return control.MicrophoneState(
        phase=_PHASES[state.phase],
        session=state.session,
        device=state.device,
        title=state.title,
        muted=state.muted,
        problem=state.problem,
    )


def event_message(event: Event) -> control.WatchResponse:
    match event:
        case State():
            return control.WatchResponse(state=state_message(event))
        case Loudness():
            level = control.Level(rms_db=event.level.rms, peak_db=event.level.peak)
            return control.WatchResponse(level=level)
        case Interim():
            interim = control.Interim(session=event.session, text=event.text, stability=event.stability)
            return control.WatchResponse(interim=interim)
        case said.Final():
            final = control.Final(
                session=event.session, text=event.text, added=event.added, start=event.start, end=event.end
            )
            return control.WatchResponse(final=final)


def read_state(message: control.MicrophoneState) -> State:
    """The reverse of `state_message`."""
    named = {number: phase for phase, number in _PHASES.items()}
    return State(
        # A newer daemon may know phases that this client does not; what is not closed is on.
        named.get(message.phase, "listening"),
        message.session,
        message.device,
        message.title,
        message.muted,
        message.problem,
    )


def read_event(message: control.WatchResponse) -> Event | None:
    """The reverse of `event_message`; None for one that this client does not know."""
    match message.WhichOneof("event"):
        case "state":
            return read_state(message.state)
        case "level":
            return Loudness(Level(message.level.rms_db, message.level.peak_db))
        case "interim":
            return Interim(message.interim.session, message.interim.text, message.interim.stability)
        case "final":
            final = message.final
            return said.Final(final.session, final.text, final.added, final.start, final.end)
        case _:
            return None
