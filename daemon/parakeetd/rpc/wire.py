"""Riva's messages to and from the daemon's own types. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from parakeetd.audio.sources.client import Encoding
from parakeetd.errors import InputError
from parakeetd.model.decoding import DecodeOptions, read_decoder
from parakeetd.model.phrases import read_boosts
from parakeetd.model.transcript import Transcript, Word
from parakeetd.rpc.abilities import COMMANDS_KEY, DECODER_KEY, parameters_of
from parakeetd.rpc.endpointing import Endpointing, read_endpointing
from parakeetd.session import Result, ServedModel
from parakeetd.text import HouseStyle
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_audio_pb2 as audio
from parakeetd_proto import riva_common_pb2 as common

_ENCODINGS: Final[dict[int, Encoding]] = {
    audio.ENCODING_UNSPECIFIED: Encoding.UNSPECIFIED,
    audio.LINEAR_PCM: Encoding.LINEAR_PCM,
    audio.FLAC: Encoding.FLAC,
    audio.MULAW: Encoding.MULAW,
    audio.OGGOPUS: Encoding.OGG,
    audio.ALAW: Encoding.ALAW,
}

CHANNEL_TAG: Final = 1
"""Channels are mixed into one, and Riva counts them from 1."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a client asks for, as far as it is used."""

    encoding: Encoding
    sample_rate: int
    """Hz; 0: read from the audio's header."""
    channels: int
    """0: not stated."""
    language: str
    """BCP-47 tag, or empty."""
    model: str
    word_times: bool
    interim: bool
    endpointing: Endpointing
    decode: DecodeOptions
    punctuation: bool
    """The model's punctuation is wanted."""
    profanity_filter: bool
    spoken_commands: bool | None
    """None: not stated."""


def read_config(config: asr.RecognitionConfig, *, interim: bool = False) -> Options:
    """The options in a client's configuration.

    Raises:
        InputError: the encoding is none of Riva's, or a value in `custom_configuration` is not known;
        PhraseError: a phrase of `speech_contexts` cannot be boosted.
    """
    if config.encoding not in _ENCODINGS:
        known = ", ".join(f"{value.name} ({value.number})" for value in audio.AudioEncoding.DESCRIPTOR.values)
        raise InputError(f"config.encoding {config.encoding} is not known; send one of {known}")
    return Options(
        encoding=_ENCODINGS[config.encoding],
        sample_rate=config.sample_rate_hertz,
        channels=config.audio_channel_count,
        language=config.language_code,
        model=config.model,
        word_times=config.enable_word_time_offsets,
        interim=interim,
        endpointing=read_endpointing(config.endpointing_config, config.custom_configuration),
        decode=_decode_options(config),
        punctuation=config.enable_automatic_punctuation,
        profanity_filter=config.profanity_filter,
        spoken_commands=_spoken_commands(config.custom_configuration),
    )


def _decode_options(config: asr.RecognitionConfig) -> DecodeOptions:
    """What a configuration says of decoding. Riva's clients send keys of other servers too: they are left."""
    decoder = config.custom_configuration.get(DECODER_KEY, "tdt")
    return DecodeOptions(
        read_decoder(decoder, f'custom_configuration["{DECODER_KEY}"]'),
        read_boosts(
            (phrase, context.boost) for context in config.speech_contexts for phrase in context.phrases
        ),
        config.language_code,
    )


def _spoken_commands(custom: Mapping[str, str]) -> bool | None:
    if (said := custom.get(COMMANDS_KEY)) is None:
        return None
    # Programs in Python write True, as this API itself does in its answers.
    if said.lower() not in ("true", "false"):
        raise InputError(f'custom_configuration["{COMMANDS_KEY}"] must be true or false, not {said!r}')
    return said.lower() == "true"


def read_first(request: asr.StreamingRecognizeRequest) -> Options:
    """The options in the first message of a stream.

    Raises:
        InputError: it carries no configuration, or one that cannot be used.
    """
    match request.WhichOneof("streaming_request"):
        case "streaming_config":
            config = request.streaming_config
            return read_config(config.config, interim=config.interim_results)
        case "audio_content":
            raise InputError("the first message of the stream must carry streaming_config, not audio_content")
        case _:
            raise InputError("the first message of the stream must carry streaming_config; it is empty")


def read_audio(request: asr.StreamingRecognizeRequest) -> bytes:
    """The audio in a message after the first; none if it only carries something that is not used.

    Raises:
        InputError: it carries a configuration.
    """
    if request.HasField("streaming_config"):
        raise InputError("streaming_config was sent a second time; only the first message may carry it")
    return request.audio_content


def offline_response(
    results: Sequence[Result],
    options: Options,
    language: str,
    request_id: common.RequestId | None,
    *,
    spaced: bool = True,
) -> asr.RecognizeResponse:
    """All results of a recording. Their transcripts, joined as they are, make up its text.

    Args:
        spaced: put the space between them; False when they have it already.
    """
    last = len(results) - 1
    return asr.RecognizeResponse(
        results=[
            asr.SpeechRecognitionResult(
                alternatives=[_alternative(result.transcript, options, language, spaced=spaced and i < last)],
                channel_tag=CHANNEL_TAG,
                audio_processed=result.audio_seconds,
            )
            for i, result in enumerate(results)
        ],
        id=request_id,
    )


def streaming_response(
    result: Result,
    options: Options,
    language: str,
    request_id: common.RequestId | None,
    *,
    spaced: bool = True,
) -> asr.StreamingRecognizeResponse:
    """One result of a stream.

    Args:
        spaced: end a final in a space; False when the next one begins with what is due.
    """
    return asr.StreamingRecognizeResponse(
        results=[
            asr.StreamingRecognitionResult(
                alternatives=[
                    _alternative(result.transcript, options, language, spaced=spaced and result.is_final)
                ],
                is_final=result.is_final,
                stability=result.stability,
                channel_tag=CHANNEL_TAG,
                audio_processed=result.audio_seconds,
            )
        ],
        id=request_id,
    )


def config_response(
    models: Sequence[ServedModel], house: HouseStyle, segmentation: Segmentation
) -> asr.RivaSpeechRecognitionConfigResponse:
    """The list of models, each once for either way of recognising."""
    return asr.RivaSpeechRecognitionConfigResponse(
        model_config=[config for model in models for config in _configs(model, house, segmentation)]
    )


def _configs(
    model: ServedModel, house: HouseStyle, segmentation: Segmentation
) -> Iterator[asr.RivaSpeechRecognitionConfigResponse.Config]:
    for kind in ("online", "offline"):
        yield asr.RivaSpeechRecognitionConfigResponse.Config(
            model_name=model.name, parameters=parameters_of(model, house, segmentation, kind)
        )


def _alternative(
    transcript: Transcript, options: Options, language: str, *, spaced: bool
) -> asr.SpeechRecognitionAlternative:
    """`spaced`: another transcript may be appended, and Riva's clients put nothing between them."""
    return asr.SpeechRecognitionAlternative(
        transcript=f"{transcript.text} " if spaced and transcript.text else transcript.text,
        confidence=transcript.confidence,
        words=[_word(word, language) for word in transcript.words] if options.word_times else (),
        language_code=[language] if language else (),
    )


def _word(word: Word, language: str) -> asr.WordInfo:
    return asr.WordInfo(
        start_time=round(word.start * 1000),
        end_time=round(word.end * 1000),
        word=word.text,
        confidence=word.confidence,
        language_code=language,
    )
