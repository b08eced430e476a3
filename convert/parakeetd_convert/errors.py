"""What can go wrong in a conversion, as one line for a person."""

from __future__ import annotations

from pathlib import Path

from parakeetd.errors import InputError, ParakeetError


class NemoFileError(InputError):
    """A `.nemo` file that is not one, is damaged, or holds something that must not be unpacked."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


class UnsupportedModel(InputError):
    """A model that these graphs cannot reproduce: another class or another setting."""


class BundleExists(InputError):
    """A bundle of this name is there already, and it was not to be replaced."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists; replace it with --force or choose another --name")


class MissingToolchain(ParakeetError):
    """torch, NeMo or onnx cannot be imported."""


class VerificationFailed(ParakeetError):
    """What was converted does not do what NeMo does. Nothing was published."""

    def __init__(self, subject: str, problem: str) -> None:
        super().__init__(f"verification failed: {subject}: {problem}; nothing was published")
        self.subject = subject


class PublishError(ParakeetError):
    """The bundle cannot be written to its place."""
