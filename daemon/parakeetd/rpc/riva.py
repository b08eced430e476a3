"""Riva's recognition service on top of the daemon's sessions."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import grpc

from parakeetd.audio.sources.client import ClientAudio
from parakeetd.entrance.incoming import Patience, recording_samples
from parakeetd.errors import InputError
from parakeetd.rpc import wire
from parakeetd.rpc.abilities import unmet
from parakeetd.rpc.incoming import first_message, stream_samples
from parakeetd.rpc.status import StreamAnswered
from parakeetd.session import Result, ServedModel, Sessions
from parakeetd.text import HouseStyle, Pen, taken_back
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc

_log = logging.getLogger(__name__)

SERVICE: Final = asr.DESCRIPTOR.services_by_name["RivaSpeechRecognition"].full_name

STREAMS: Final = frozenset(f"/{SERVICE}/{method}" for method in ("Recognize", "StreamingRecognize"))
"""Calls that are counted as streams."""

_MOST_NOTED: Final = 1000
"""Names of models and languages that are remembered as logged: clients choose them."""

Context = grpc.aio.ServicerContext[Any, Any]


class RivaServicer(riva_asr_pb2_grpc.RivaSpeechRecognitionServicer):
    """Answers Riva's clients."""

    def __init__(self, sessions: Sessions, house: HouseStyle) -> None:
        self._sessions = sessions
        self.house = house
        """How the text of new streams is written."""
        self._noted: set[tuple[str, str]] = set()

    async def Recognize(  # noqa: N802  (the service names it)
        self, request: asr.RecognizeRequest, context: Context
    ) -> asr.RecognizeResponse:
        """Recognise a whole recording."""
        async with StreamAnswered(context, "Recognize"):
            options = wire.read_config(request.config)
            pen = self._pen_for(options, request.config, context)
            most = self._sessions.settings.max_recording_seconds
            async with (
                aclosing(recording_samples(request.audio, _client_audio(options, most), most)) as chunks,
                aclosing(
                    self._sessions.stream(
                        chunks,
                        model=options.model,
                        segmentation=self._segmentation_for(options),
                        decode=options.decode,
                    )
                ) as results,
            ):
                heard = [result async for result in results]
            # All of it is known: what a command takes back need not be answered first.
            texts = taken_back(pen.write(result.transcript, final=True) for result in heard)
            answered = [
                replace(result, transcript=text)
                for result, text in zip(heard, texts, strict=True)
                if text.text or not pen.spaces
            ]
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

    def _model_for(self, options: wire.Options) -> ServedModel:
        """The model that answers: the default one also for names of NVIDIA's own, which clients ask for."""
        model = self._sessions.models.named(options.model)
        if options.model and model.name != options.model:
            self._note("model", options.model, f"is not served: {model.name} answers")
        if options.language and options.language.lower() not in {tag.lower() for tag in model.languages}:
            self._note(
                "language", options.language, f"{model.name} was not trained on: it answers all the same"
            )
        return model

    def _pen_for(self, options: wire.Options, asked: asr.RecognitionConfig, context: Context) -> Pen:
        """What writes a new stream's text; the log is told what the stream asks for in vain.

        Raises:
            Closed: there is no model yet.
        """
        # The streams themselves know a model by its name only: it may be replaced, and is then to leave the memory.
        model = self._model_for(options)
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

    def _note(self, kind: str, name: str, remark: str) -> None:
        if (kind, name) not in self._noted and len(self._noted) < _MOST_NOTED:
            self._noted.add((kind, name))
            _log.info("a client asked for %s %r, which %s", kind, name, remark)

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
