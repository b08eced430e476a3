"""`org.parakeetd.Dictation1`: what it offers. Levels are left to `Control.Watch`: ten signals a second would wake every
listener of the bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final

from dbus_fast import DBusError, PropertyAccess
from dbus_fast.annotations import DBusBool, DBusInt64, DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from parakeetd.dictation import State
from parakeetd.errors import ParakeetError

if TYPE_CHECKING:
    from parakeetd.dictation import Dictation

INTERFACE: Final = "org.parakeetd.Dictation1"

Switch = Callable[[], Awaitable[State]]

Nothing = Annotated[None, DBusSignature("")]
InterimBody = Annotated[tuple[str, float], DBusSignature("sd")]
FinalBody = Annotated[tuple[str, str], DBusSignature("ss")]


class DictationInterface(ServiceInterface):
    """Methods answer as those of Control do; errors are `INTERFACE.Error.NAME` with a line for people."""

    def __init__(self, dictation: Dictation) -> None:
        super().__init__(INTERFACE)
        self._dictation = dictation
        self._state = dictation.state

    @dbus_method(name="Start")
    async def start(self) -> Nothing:
        """Open the usual microphone."""
        await self._switched(lambda: self._dictation.start())

    @dbus_method(name="StartDevice")
    async def start_device(self, device: DBusStr) -> Nothing:
        """Open another one: its name or description, or a part of either."""
        await self._switched(lambda: self._dictation.start(device))

    @dbus_method(name="Stop")
    async def stop(self) -> Nothing:
        """Close it; answers when all that was said has been told."""
        await self._switched(self._dictation.stop)

    @dbus_method(name="Toggle")
    async def toggle(self) -> Nothing:
        """Open or close it."""
        await self._switched(lambda: self._dictation.toggle())

    @dbus_method(name="Cancel")
    async def cancel(self) -> Nothing:
        """Close it, and forget what was said last."""
        await self._switched(self._dictation.cancel)

    @dbus_property(access=PropertyAccess.READ, name="Phase")
    def phase(self) -> DBusStr:
        """`idle`, `starting`, `listening`, `interrupted` or `finishing`."""
        return self._state.phase

    @dbus_property(access=PropertyAccess.READ, name="Session")
    def session(self) -> DBusInt64:
        return self._state.session

    @dbus_property(access=PropertyAccess.READ, name="Device")
    def device(self) -> DBusStr:
        return self._state.device

    @dbus_property(access=PropertyAccess.READ, name="Title")
    def title(self) -> DBusStr:
        return self._state.title

    @dbus_property(access=PropertyAccess.READ, name="Muted")
    def muted(self) -> DBusBool:
        return self._state.muted

    @dbus_property(access=PropertyAccess.READ, name="Problem")
    def problem(self) -> DBusStr:
        return self._state.problem

    @dbus_signal(name="Interim")
    def interim(self, text: str, stability: float) -> InterimBody:
        """Text of the open utterance, empty when it is withdrawn, and the share of it that stays."""
        return (text, stability)

    @dbus_signal(name="Final")
    def final(self, text: str, added: str) -> FinalBody:
        """Text of an utterance, and what to type for it."""
        return (text, added)

    def tell(self, state: State) -> None:
        """Properties that differ from now on."""
        before, self._state = self._state, state
        changed = {
            name.capitalize(): getattr(state, name)
            for name in ("phase", "session", "device", "title", "muted", "problem")
            if getattr(state, name) != getattr(before, name)
        }
        if changed:
            self.emit_properties_changed(changed)

    async def _switched(self, call: Switch) -> None:
        try:
            await call()
        except ParakeetError as error:
            raise DBusError(f"{INTERFACE}.Error.{type(error).__name__}", str(error)) from error
