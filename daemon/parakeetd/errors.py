"""Every error a user can meet. One base; each leaf says in one line what is wrong, with what, and what to do.

The command line prints the message and exits with `exit_code`; `rpc.status` maps each leaf to a gRPC code.
"""

from __future__ import annotations

from pathlib import Path


class ParakeetError(Exception):
    """Base of all errors that are reported to a person. The message is one line: what of it cannot be printed, such as
    a line's end in a key that a file has, stands there as its escape."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        # Whoever names a thing chooses its name: none may write lines of its own into a log, or move a cursor.
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class InputError(ParakeetError):
    """What the caller gave cannot be used: a flag, a file, a configuration value, a request field."""

    exit_code = 2


class AudioError(InputError):
    """Audio that cannot be decoded: not audio, empty, a truncated header, an impossible sample rate."""


class TooLong(AudioError):
    """More audio than a limit allows in one piece; the message names the limit."""


class DecoderError(InputError):
    """A decoder that the model does not have."""


class PhraseError(InputError):
    """Phrases to be boosted that cannot be: too many, too long, or no tokens of the model spell them."""


class ConfigError(InputError):
    """A configuration file or value that cannot be used."""


class ModelNotFound(InputError):
    """No bundle of this name is installed."""

    def __init__(self, name: str, searched: Path, installed: list[str]) -> None:
        known = ", ".join(installed) or "none"
        super().__init__(
            f"model {name!r} is not installed in {searched} (installed: {known}); "
            f"install it with: parakeetd-convert {name}"
        )
        self.name = name


class BundleError(InputError):
    """A model bundle that is incomplete, damaged or of a format that this version cannot read."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"model bundle {path}: {problem}")
        self.path = path


class CalibrationError(ParakeetError):
    """A calibration table that cannot be read or written."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"calibration {path}: {problem}")
        self.path = path


class DeviceError(ParakeetError):
    """A device that cannot be opened or that failed while it worked."""

    def __init__(self, device: str, reason: str) -> None:
        # ONNX Runtime's own reasons run over several lines.
        reason = " ".join(reason.split())
        super().__init__(f"device {device}: {reason}")
        self.device = device
        self.reason = reason


class Overloaded(ParakeetError):
    """A limit is reached; the message names the limit. Try again later."""


class IdleTimeout(ParakeetError):
    """A stream that sent nothing for longer than the idle limit."""


class TimeLimit(ParakeetError):
    """A call that took longer than a limit allows; the message names the limit."""


class Refused(ParakeetError):
    """A call that does not carry what lets it in."""


class Closed(ParakeetError):
    """The daemon is shutting down and takes no new work."""


class ListenError(ParakeetError):
    """An address that cannot be bound."""


class CallFailed(ParakeetError):
    """A server that cannot be reached, or that ended a call with an error."""


class SetupError(ParakeetError):
    """The service cannot be installed or removed."""


class MicrophoneError(ParakeetError):
    """A microphone that is not there, or a sound server that does not answer."""


class TypingError(ParakeetError):
    """Text cannot be typed into windows here, or not in this way."""
