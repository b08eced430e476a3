"""Transcriptions in OpenAI's forms. Pure functions."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args

from parakeetd.errors import InputError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.phrases import read_boosts
from parakeetd.session import Result, ServedModel

Form = Literal["json", "text", "srt", "vtt", "verbose_json"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)

Granularity = Literal["word", "segment"]
_GRANULARITIES: Final[tuple[Granularity, ...]] = get_args(Granularity)

_Name = TypeVar("_Name", bound=str)

UNDETERMINED: Final = "und"
"""Of a model with several languages, where the client names none (ISO 639)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for, as far as it is used."""

    model: str
    form: Form
    granularities: frozenset[Granularity]
    stream: bool
    decode: DecodeOptions

    @property
    def language(self) -> str:
        return self.decode.language


def read_wanted(fields: Mapping[str, Sequence[str]]) -> Wanted:
    """The options in a request's form. Those of other servers are left.

    Raises:
        InputError: one cannot be used; PhraseError: a keyword cannot be boosted.
    """
    form = _one_of(FORMS, "response_format", _last(fields, "response_format") or "json")
    granularities = frozenset(
        _one_of(_GRANULARITIES, "timestamp_granularities", name)
        for name in fields.get("timestamp_granularities", ())
    )
    if granularities and form != "verbose_json":
        raise InputError(f"timestamp_granularities needs response_format verbose_json, not {form}")
    stream = _one_of(("true", "false"), "stream", (_last(fields, "stream") or "false").lower()) == "true"
    if stream and form not in ("json", "text"):
        raise InputError(f"stream=true needs response_format json or text, not {form}")
    return Wanted(
        model=_last(fields, "model"),
        form=form,
        granularities=granularities or frozenset(("segment",)),
        stream=stream,
        decode=DecodeOptions(
            boosts=read_boosts((phrase, 0.0) for phrase in fields.get("keywords", ())),
            language=_last(fields, "language"),
        ),
    )


def model_object(model: ServedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "parakeetd"}


def models_list(models: Sequence[ServedModel]) -> dict[str, Any]:
    return {"object": "list", "data": [model_object(model) for model in models]}


def plain(text: str, seconds: float) -> dict[str, Any]:
    """`json`.

    Args:
        seconds: of audio.
    """
    return {"text": text, "usage": _usage(seconds)}


def verbose(
    text: str, results: Sequence[Result], seconds: float, language: str, wanted: Collection[Granularity]
) -> dict[str, Any]:
    """`verbose_json`. Times are seconds from the beginning of the recording.

    Whisper's `temperature`, `seek` and `no_speech_prob` mean nothing here: they are 0.
    """
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": language or UNDETERMINED,
        "duration": round(seconds, 3),
        "text": text,
    }
    if "word" in wanted:
        answer["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for result in results
            for word in result.transcript.words
        ]
    if "segment" in wanted:
        answer["segments"] = [_segment(i, result) for i, result in enumerate(results)]
    return answer | {"usage": _usage(seconds)}


def event(kind: str, content: Mapping[str, Any]) -> bytes:
    """A server-sent event of a streamed transcription."""
    return _sent({"type": kind, **content})


def error_event(body: Mapping[str, Any]) -> bytes:
    """An error that comes after the answer has begun."""
    return _sent(body)


def _sent(content: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _segment(number: int, result: Result) -> dict[str, Any]:
    transcript, text = result.transcript, result.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": round(result.start, 3),
        "end": round(result.end, 3),
        "text": result.text,
        "tokens": [token.id for token in transcript.tokens],
        "temperature": 0.0,
        "avg_logprob": round(math.log(transcript.confidence), 4) if transcript.confidence > 0 else 0.0,
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 4),
        "no_speech_prob": 0.0,
    }


def _usage(seconds: float) -> dict[str, Any]:
    # Whole seconds begun, as OpenAI counts them.
    return {"type": "duration", "seconds": math.ceil(seconds)}


def _last(fields: Mapping[str, Sequence[str]], name: str) -> str:
    return fields[name][-1].strip() if name in fields else ""


def _one_of(names: Sequence[_Name], field: str, value: str) -> _Name:
    for name in names:
        if value == name:
            return name
    raise InputError(f"{field} must be one of {', '.join(names)}, not {value[:100]!r}")
