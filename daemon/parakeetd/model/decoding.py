"""How a piece of audio is to be decoded: what a caller may choose."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from parakeetd.errors import DecoderError, InputError
from parakeetd.model.bundle import Architecture
from parakeetd.model.phrases import Boost

Decoder = Literal["tdt", "ctc"]
DECODERS: tuple[Decoder, ...] = typing.get_args(Decoder)


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What a caller asks of the decoding of one piece."""

    decoder: Decoder = "tdt"
    """`tdt` is the transducer; `ctc` the second head of a hybrid model: faster, usually a little less right."""
    boosts: tuple[Boost, ...] = ()
    """Phrases that are likely to be said."""
    language: str = ""
    """BCP-47 tag. Only tokens of its script are written, if the script is known and the model has such tokens. Empty or
    `multi`: tokens of all scripts."""


def read_decoder(name: str, where: str) -> Decoder:
    """The decoder of this name.

    Args:
        where: what the caller set, for the message.

    Raises:
        InputError: there is none.
    """
    for decoder in DECODERS:
        if name == decoder:
            return decoder
    raise InputError(f"{where} must be {' or '.join(DECODERS)}, not {name!r}")


def decoders_of(architecture: Architecture) -> tuple[Decoder, ...]:
    """The decoders that a model has, its usual one first."""
    return DECODERS if architecture.ctc else ("tdt",)


def check_decoder(decoder: Decoder, has: tuple[Decoder, ...], model: str) -> None:
    """Raise DecoderError when the model does not have this decoder."""
    if decoder not in has:
        raise DecoderError(
            f"model {model} has no {decoder} decoder, only {', '.join(has)}: it was made without a CTC head"
        )
