"""Riva's recognition service on top of the daemon's sessions."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import grpc

from parakeetd.audio.sources.client import ClientAudio
from parakeetd.entrance.asked import Asked
from parakeetd.entrance.incoming import Patience
from parakeetd.entrance.recording import Recording
from parakeetd.errors import InputError
from parakeetd.rpc import wire
from parakeetd.rpc.abilities import unmet
from parakeetd.rpc.incoming import first_message, stream_samples
from parakeetd.rpc.status import StreamAnswered
from parakeetd.session import Result, ServedModel, Sessions
from parakeetd.text import HouseStyle, Pen
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc

_log = logging.getLogger(__name__)

SERVICE: Final = asr.DESCRIPTOR.services_by_name["RivaSpeechRecognition"].full_name

STREAMS: Final = frozenset(f"/{SERVICE}/{method}" for method in ("Recognize", "StreamingRecognize"))
"""Calls that are counted as streams."""

Context = grpc.aio.ServicerContext[Any, Any]


class RivaServicer(riva_asr_pb2_grpc.RivaSpeechRecognitionServicer):
    """Answers Riva's clients."""

    def __init__(self, sessions: Sessions, house: HouseStyle) -> None:
        self._sessions = sessions
        self.house = house
        """How the text of new streams is written."""
        self._asked = Asked(sessions.models)

    async def Recognize(  # noqa: N802  (the service names it)
        self, request: asr.RecognizeRequest, context: Context
    ) -> asr.RecognizeResponse:
        """Recognise a whole recording."""
        async with StreamAnswered(context, "Recognize"):
            options = wire.read_config(request.config)
            pen = self._pen_for(options, request.config, context)
            recording = Recording(
                request.audio,
                _client_audio(options, self._sessions.settings.max_recording_seconds),
                options.model,
                options.decode,
                self._segmentation_for(options),
            )
            answered = await recording.written(self._sessions, pen)
            request_id = request.id if request.HasField("id") else None
            return wire.offline_response(
                answered, options, self._language_of(options), request_id, spaced=not pen.spaces
            )

    async def StreamingRecognize(  # noqa: N802  (the service names it)
        self, request_iterator: AsyncIterator[asr.StreamingRecognizeRequest], context: Context
    ) -> AsyncIterator[asr.StreamingRecognizeResponse]:
        """Recognise audio while it is spoken."""
        async with StreamAnswered(context, "StreamingRecognize"):
            requests = aiter(request_iterator)
            limits = self._sessions.settings
            patience = Patience(limits.idle_seconds, limits.max_stream_seconds)
            first = await first_message(requests, limits.idle_seconds, self._sessions.draining_begun)
            options = wire.read_first(first)
            pen = self._pen_for(options, first.streaming_config.config, context)
            request_id = first.id if first.HasField("id") else None
            async with (
                aclosing(
                    stream_samples(requests, _client_audio(options, limits.max_recording_seconds), patience)
                ) as chunks,
                aclosing(
                    self._sessions.stream(
                        chunks,
                        model=options.model,
                        interim=options.interim,
                        segmentation=self._segmentation_for(options),
                        decode=options.decode,
                    )
                ) as results,
            ):
                async for result in results:
                    yield wire.streaming_response(
                        _written(result, pen),
                        options,
                        self._language_of(options),
                        request_id,
                        spaced=not pen.spaces,
                    )

    async def GetRivaSpeechRecognitionConfig(  # noqa: N802  (the service names it)
        self, request: asr.RivaSpeechRecognitionConfigRequest, context: Context
    ) -> asr.RivaSpeechRecognitionConfigResponse:
        """List the models."""
        serving = self._sessions.models.serving
        models = [model for model in serving if request.model_name in ("", model.name)]
        if serving and not models:
            served = ", ".join(model.name for model in serving)
            raise InputError(f"model {request.model_name!r} is not served; served: {served}")
        return wire.config_response(models, self.house, self._sessions.settings.segmentation)

    def _pen_for(self, options: wire.Options, asked: asr.RecognitionConfig, context: Context) -> Pen:
        """What writes a new stream's text; the log is told what the stream asks for in vain.

        Raises:
            Closed: there is no model yet.
        """
        # The streams themselves know a model by its name only: it may be replaced, and is then to leave the memory.
        model = self._asked.model_for(options.model, options.language)
        self._tell_unmet(asked, model, context)
        style = self.house.style_for(
            punctuation=options.punctuation,
            profanity_filter=options.profanity_filter,
            commands=options.spoken_commands,
            language=options.language,
            spoken=model.languages,
        )
        return Pen(style)

    def _tell_unmet(self, config: asr.RecognitionConfig, model: ServedModel, context: Context) -> None:
        """Log, once for each call, what the client asks for and does not get."""
        if told := "; ".join(unmet(config, model, self.house)):
            _log.info("%s asks for what it does not get: %s", context.peer(), told)

    def _language_of(self, options: wire.Options) -> str:
        """The language of everything that the model of a stream writes; empty when it knows several."""
        languages = self._sessions.models.named(options.model).languages
        return languages[0] if len(languages) == 1 else ""

    def _segmentation_for(self, options: wire.Options) -> Segmentation:
        return options.endpointing.applied(self._sessions.settings.segmentation, first_pass=options.interim)


def _client_audio(options: wire.Options, most_seconds: float) -> ClientAudio:
    return ClientAudio(
        options.encoding, options.sample_rate, options.channels, max_container_seconds=most_seconds
    )


def _written(result: Result, pen: Pen) -> Result:
    return replace(result, transcript=pen.write(result.transcript, final=result.is_final))
