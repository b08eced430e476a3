"""What is done for a client: told beforehand, in words that a program can read, and told to the log where a client
asks for more. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from parakeetd.audio import SAMPLE_RATE
from parakeetd.model.phrases import MOST_PHRASES
from parakeetd.rpc.endpointing import EARLY_END_KEY, described
from parakeetd.session import ServedModel
from parakeetd.text import HouseStyle
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr

DECODER_KEY: Final = "decoder"
COMMANDS_KEY: Final = "spoken_commands"
CUSTOM_KEYS: Final = (DECODER_KEY, COMMANDS_KEY, EARLY_END_KEY)
"""What may be set in `custom_configuration`."""

_MOST_SHOWN: Final = 8
_LONGEST_SHOWN: Final = 40


def parameters_of(
    model: ServedModel, house: HouseStyle, segmentation: Segmentation, kind: str
) -> Mapping[str, str]:
    """`RivaSpeechRecognitionConfigResponse.Config.parameters`; the .proto says what each means.

    Args:
        segmentation: how streams are cut whose clients do not say.
        kind: `online` or `offline`.
    """
    return {
        "type": kind,
        "language_code": ",".join(model.languages),
        "sample_rate": str(SAMPLE_RATE),
        "streaming": str(kind == "online"),
        "decoder": "greedy",
        "decoders": ",".join(model.decoders),
        "max_alternatives": "1",
        "word_time_offsets": str(True),
        "confidence": "token_geometric_mean",
        "punctuation": "model" if model.writes_punctuation else "none",
        "punctuation_default": str(model.writes_punctuation and house.always_punctuation),
        "inverse_text_normalization": "none",
        "profanity_filter": str(True),
        "spoken_commands": ",".join(house.tables.commands),
        "spoken_commands_default": str(house.commands),
        "speech_contexts": "none" if model.biasing is None else "phrases",
        "speech_contexts_most_phrases": str(0 if model.biasing is None else MOST_PHRASES),
        "language_lock": "none" if model.biasing is None else "script",
        "speaker_diarization": "none",
        "channels": "mixed",
        "custom_configuration": ",".join(CUSTOM_KEYS),
        **described(segmentation, first_pass=kind == "online"),
    }


def unmet(config: asr.RecognitionConfig, model: ServedModel, house: HouseStyle) -> Iterator[str]:
    """What a client asks for and does not get, a phrase for each."""
    if config.max_alternatives > 1:
        yield f"max_alternatives {config.max_alternatives}: greedy decoding has one hypothesis"
    if config.enable_automatic_punctuation and not model.writes_punctuation:
        yield f"enable_automatic_punctuation: {model.name} writes no punctuation"
    if config.speech_contexts and model.biasing is None:
        yield f"speech_contexts: {model.name} cannot boost phrases"
    if config.diarization_config.enable_speaker_diarization:
        yield "diarization_config: speakers are not told apart"
    if config.enable_separate_recognition_per_channel and config.audio_channel_count > 1:
        yield "enable_separate_recognition_per_channel: channels are mixed"
    commands = config.custom_configuration.get(COMMANDS_KEY, str(house.commands)).lower()
    if commands == "true" and house.tables.commands_for(config.language_code, model.languages) is None:
        yield f"{COMMANDS_KEY}: there is no table for {_shown(config.language_code or ','.join(model.languages))}"
    if unknown := sorted(set(config.custom_configuration) - set(CUSTOM_KEYS)):
        named = ", ".join(map(_shown, unknown[:_MOST_SHOWN])) + (", ..." if unknown[_MOST_SHOWN:] else "")
        yield f"custom_configuration {named}: known are {', '.join(CUSTOM_KEYS)}"


def _shown(text: str) -> str:
    """What a client chose, fit for a line of the log."""
    return repr(text[:_LONGEST_SHOWN])
