"""What a process and its child say to each other, as fields of frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from parakeetd.errors import AudioError, BundleError, DecoderError, DeviceError, PhraseError
from parakeetd.model.biasing import MOST_KEPT
from parakeetd.model.bundle import Precision
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.forms import Decoding
from parakeetd.model.phrases import Boost
from parakeetd.model.sessions import Device
from parakeetd.model.transcript import Token, Transcript, Word

_AT_FAULT: Final = {kind.__name__: kind for kind in (AudioError, DecoderError, PhraseError)}
"""Errors of what was asked for; all others are the device's."""


@dataclass(frozen=True, slots=True)
class ModelToOpen:
    """Which model a child opens, and how."""

    bundle: Path
    manifest_sha256: str
    """Of the manifest as the parent read it: both must serve the same model."""
    device: Device
    threads: int
    precision: Precision | None
    decoding: Mapping[str, Decoding] = field(default_factory=dict)
    """What decodes fastest there, by batch size; empty: as the manifest says."""

    def fields(self) -> dict[str, Any]:
        return asdict(self) | {"bundle": str(self.bundle)}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ModelToOpen:
        decoding = {size: Decoding(**item) for size, item in fields.get("decoding", {}).items()}
        return cls(**{**fields, "bundle": Path(fields["bundle"]), "decoding": decoding})


class PhraseLists:
    """The phrases of each stream cross over once, not with each of its segments: then their number does.

    Of both sides one each. The sender decides which are forgotten.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._numbers: OrderedDict[int, tuple[int, tuple[Boost, ...]]] = OrderedDict()
        """By the identity of the list, which is kept, so that no other list gets it."""
        self._lists: dict[int, tuple[Boost, ...]] = {}
        self._next = 1

    def packed(self, options: Sequence[DecodeOptions]) -> dict[str, Any]:
        """Fields for these options."""
        new: dict[str, Any] = {}
        rows = [[item.decoder, item.language, self._number(item.boosts, new)] for item in options]
        forgotten = [self._numbers.popitem(last=False)[1][0] for _ in range(len(self._numbers) - self._most)]
        return {"options": rows, "phrases": new, "forget": forgotten}

    def _number(self, boosts: tuple[Boost, ...], new: dict[str, Any]) -> int:
        if not boosts:
            return 0
        if id(boosts) not in self._numbers:
            self._numbers[id(boosts)] = (self._next, boosts)
            new[str(self._next)] = boosts
            self._next += 1
        self._numbers.move_to_end(id(boosts))
        return self._numbers[id(boosts)][0]

    def unpacked(self, fields: Mapping[str, Any]) -> list[DecodeOptions]:
        """The options that were packed into these fields."""
        for number, phrases in fields["phrases"].items():
            self._lists[int(number)] = tuple(Boost(phrase, boost) for phrase, boost in phrases)
        options = [
            DecodeOptions(decoder, self._lists[number] if number else (), language)
            for decoder, language, number in fields["options"]
        ]
        for number in fields["forget"]:
            del self._lists[number]
        return options


def transcripts_fields(transcripts: Iterable[Transcript]) -> list[Any]:
    """For JSON, which keeps every bit of a float."""
    return [
        [
            item.text,
            [[word.text, word.start, word.end, word.confidence] for word in item.words],
            [[token.id, token.frame, token.duration, token.confidence] for token in item.tokens],
            item.confidence,
        ]
        for item in transcripts
    ]


def transcripts_of(fields: Iterable[Any]) -> list[Transcript]:
    return [
        Transcript(
            text, tuple(Word(*word) for word in words), tuple(Token(*token) for token in tokens), confidence
        )
        for text, words, tokens, confidence in fields
    ]


def error_fields(error: Exception) -> dict[str, Any]:
    kind, reason = type(error).__name__, str(error)
    if isinstance(error, BundleError):
        return {"error": "BundleError", "path": str(error.path), "reason": _after_colon(error)}
    if isinstance(error, DeviceError):
        reason = error.reason
    elif kind not in _AT_FAULT:
        reason = f"{kind}: {reason}" if reason else kind
    return {"error": kind, "reason": reason}


def error_of(fields: Mapping[str, Any], device: Device) -> Exception:
    """The error as it would be without a process in between; what no caller can tell apart is the device's."""
    if kind := _AT_FAULT.get(fields["error"]):
        return kind(fields["reason"])
    if fields["error"] == "BundleError":
        return BundleError(Path(fields["path"]), fields["reason"])
    return DeviceError(device, fields["reason"])


def _after_colon(error: BundleError) -> str:
    return str(error).removeprefix(f"model bundle {error.path}: ")
