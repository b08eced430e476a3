"""Drives NVIDIA's own Riva client, in its environment: `riva_client.py [FLAG...] WHAT ADDRESS [FILE]`; prints JSON.

Each function makes the calls of the client's command of the same purpose (`transcribe_file.py`,
`transcribe_file_offline.py`, `--list-models`), which are not part of its package on PyPI.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
import wave
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import riva.client  # type: ignore[import-not-found]  # in the client's environment only
import riva.client.argparse_utils  # type: ignore[import-not-found]
from riva.client.proto import (  # type: ignore[import-not-found]
    riva_asr_pb2,
    riva_audio_pb2,
    riva_common_pb2,
)

from descriptors import on_the_wire

FILE_CHUNK_FRAMES = 1600
"""What `transcribe_file.py` sends at a time: 3,200 bytes of 16-bit mono."""

MICROPHONE_CHUNK_BYTES = 640

FLAGS: list[str] = []
"""How to reach the server, in the client's own words: `--use-ssl`, `--ssl-root-cert`, `--metadata`."""


connection = riva.client.argparse_utils.add_connection_argparse_parameters(argparse.ArgumentParser())
"""The client's own flags, of all its commands."""


def service(address: str) -> Any:
    """As the client's commands make it: by the flags before the name of the function."""
    flags = connection.parse_args(FLAGS)
    auth = riva.client.Auth(
        flags.ssl_root_cert,
        flags.use_ssl,
        address,
        flags.metadata,
        flags.ssl_client_cert,
        flags.ssl_client_key,
    )
    return riva.client.ASRService(auth)


def descriptors(_address: str) -> dict[str, Any]:
    """What the client knows of the API."""
    modules = (riva_asr_pb2, riva_audio_pb2, riva_common_pb2)
    return on_the_wire(*(module.DESCRIPTOR for module in modules))


def parameters(address: str) -> list[dict[str, str]]:
    """What the configuration answer says of each model."""
    request = riva_asr_pb2.RivaSpeechRecognitionConfigRequest()
    answer = service(address).stub.GetRivaSpeechRecognitionConfig(request)
    return [dict(config.parameters) for config in answer.model_config]


def models(address: str) -> dict[str, Any]:
    """As `--list-models`: models for streaming by language."""
    listed: dict[str, list[str]] = {}
    request = riva_asr_pb2.RivaSpeechRecognitionConfigRequest()
    for config in service(address).stub.GetRivaSpeechRecognitionConfig(request).model_config:
        if config.parameters["type"] == "online":
            listed.setdefault(config.parameters["language_code"], []).append(config.model_name)
    return listed


def stream(address: str, file: str) -> dict[str, Any]:
    """The bytes of a file, header and all, with nothing declared."""
    config = riva.client.StreamingRecognitionConfig(
        config=riva.client.RecognitionConfig(
            max_alternatives=1, enable_automatic_punctuation=True, enable_word_time_offsets=True
        ),
        interim_results=True,
    )
    with riva.client.AudioChunkFileIterator(file, FILE_CHUNK_FRAMES) as chunks:
        return heard(service(address).streaming_response_generator(chunks, config))


def microphone(address: str, file: str, custom: str = "", *filters: str) -> dict[str, Any]:
    """16-bit mono samples of a WAV file at the pace at which they were spoken.

    `custom` as after `--custom-configuration`, KEY:VALUE; `filters` can be `profanity`, as `--profanity-filter`.
    """
    with wave.open(file, "rb") as wav:
        rate, data = wav.getframerate(), wav.readframes(wav.getnframes())
    config = riva.client.StreamingRecognitionConfig(
        config=riva.client.RecognitionConfig(
            encoding=riva.client.AudioEncoding.LINEAR_PCM,
            sample_rate_hertz=rate,
            audio_channel_count=1,
            language_code="en-US",
            max_alternatives=1,
            enable_word_time_offsets=True,
            profanity_filter="profanity" in filters,
        ),
        interim_results=True,
    )
    riva.client.add_custom_configuration_to_config(config, custom)

    def spoken() -> Iterator[bytes]:
        for at in range(0, len(data), MICROPHONE_CHUNK_BYTES):
            chunk = data[at : at + MICROPHONE_CHUNK_BYTES]
            time.sleep(len(chunk) / 2 / rate)
            yield chunk

    return heard(service(address).streaming_response_generator(spoken(), config))


def boosted(address: str, file: str, score: str, *phrases: str) -> dict[str, Any]:
    """A file as it is streamed, and in one message, as after `--boosted-lm-score` and `--boosted-lm-words`.

    The answer is the status and its message where the server refuses that.
    """
    asked = riva.client.RecognitionConfig(language_code="en-US", max_alternatives=1)
    config = riva.client.StreamingRecognitionConfig(config=asked, interim_results=False)
    riva.client.add_word_boosting_to_config(config, list(phrases), float(score))
    try:
        with riva.client.AudioChunkFileIterator(file, FILE_CHUNK_FRAMES) as chunks:
            streamed = heard(service(address).streaming_response_generator(chunks, config))
        with open(file, "rb") as data:  # noqa: PTH123  (as the client does it)
            whole = service(address).offline_recognize(data.read(), config.config)
    except grpc.RpcError as error:
        return {"code": error.code().name, "message": error.details()}
    return {
        "streamed": "".join(streamed["finals"]).strip(),
        "offline": "".join(item.alternatives[0].transcript for item in whole.results).strip(),
    }


def offline(address: str, file: str, custom: str = "") -> dict[str, Any]:
    """A whole file in one message; `custom` as after `--custom-configuration`, KEY:VALUE."""
    config = riva.client.RecognitionConfig(
        language_code="en-US", max_alternatives=1, enable_word_time_offsets=True
    )
    riva.client.add_custom_configuration_to_config(config, custom)
    with open(file, "rb") as data:  # noqa: PTH123  (as the client does it)
        response = service(address).offline_recognize(data.read(), config)
    return {
        "finals": [item.alternatives[0].transcript for item in response.results],
        "words": words(response.results),
        "id": response.id.value,
    }


def heard(responses: Iterable[Any]) -> dict[str, Any]:
    """Results of a stream, and what the client itself prints of them."""
    kept = list(responses)
    printed = io.StringIO()
    riva.client.print_streaming(kept, output_file=printed)
    results = [item for response in kept for item in response.results]
    finals = [item for item in results if item.is_final]
    return {
        "finals": [item.alternatives[0].transcript for item in finals],
        "words": words(finals),
        "interims": [item.alternatives[0].transcript for item in results if not item.is_final],
        "stability": [item.stability for item in results],
        "printed": printed.getvalue(),
        "final_at": [item.audio_processed for item in finals],
    }


def words(results: Iterable[Any]) -> list[list[Any]]:
    return [
        [word.word, word.start_time, word.end_time, word.confidence]
        for item in results
        for word in item.alternatives[0].words
    ]


WAYS = {way.__name__: way for way in (descriptors, parameters, models, stream, microphone, boosted, offline)}

if __name__ == "__main__":
    at = next(index for index, word in enumerate(sys.argv) if word in WAYS)
    FLAGS, (way, *arguments) = sys.argv[1:at], sys.argv[at:]
    json.dump(WAYS[way](*arguments), sys.stdout)
