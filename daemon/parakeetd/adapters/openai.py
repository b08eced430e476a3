"""OpenAI's `/v1/audio/transcriptions` and `/v1/models`, for programs that are written for OpenAI."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

from aiohttp import web

from parakeetd.adapters.form import read_form
from parakeetd.adapters.journal import note_error, noted
from parakeetd.adapters.openai_answers import (
    Wanted,
    error_event,
    event,
    model_object,
    models_list,
    plain,
    read_wanted,
    verbose,
)
from parakeetd.adapters.pieces import Pieces, whole_text
from parakeetd.adapters.web import Web, error_answer, error_body, whose
from parakeetd.audio.sources.client import ClientAudio, Encoding
from parakeetd.entrance.access import Access
from parakeetd.entrance.address import Address
from parakeetd.entrance.asked import Asked
from parakeetd.entrance.limits import CallLimits
from parakeetd.entrance.recording import Recording
from parakeetd.errors import InputError, ParakeetError, TimeLimit
from parakeetd.session import Sessions
from parakeetd.text import HouseStyle, Pen
from parakeetd.text.subtitles import srt, vtt


class OpenAIAdapter:
    """Serves OpenAI's API at one address."""

    name = "OpenAI"

    def __init__(
        self, sessions: Sessions, house: HouseStyle, address: Address, access: Access, limits: CallLimits
    ) -> None:
        """
        Raises:
            ConfigError: a file of tokens or certificates cannot be used.
        """
        self.house = house
        """How the text of new streams is written."""
        self._sessions = sessions
        self._limits = limits
        self._asked = Asked(sessions.models)
        routes = [
            web.post("/v1/audio/transcriptions", self._transcribe),
            web.get("/v1/models", self._list),
            web.get("/v1/models/{name}", self._describe),
        ]
        self._web = Web(routes, address, "adapters.openai", access, limits)

    async def start(self) -> str:
        """
        Raises:
            ListenError: the address cannot be bound.
        """
        url = await self._web.start()
        return f"{url}/v1" if "://" in url else url

    async def close(self) -> None:
        await self._web.close()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        # Asked for by name, so that a daemon that still loads says so.
        self._sessions.models.named()
        return await self._answered(request, models_list(self._sessions.models.serving))

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        self._sessions.models.named()
        name = request.match_info["name"]
        for model in self._sessions.models.serving:
            if model.name == name:
                return await self._answered(request, model_object(model))
        served = ", ".join(model.name for model in self._sessions.models.serving)
        message = f"model {name[:100]!r} is not served; served: {served}"
        return await self._web.finish(request, error_answer(404, message, code="model_not_found"))

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        client = whose(request)
        # A place is taken before 64 MiB are read.
        with noted("OpenAI", client), self._sessions.place(client):
            form = await read_form(request, self._limits)
            wanted = read_wanted(form.fields)
            if form.file is None:
                raise InputError("the form has no file: send the audio as the field file")
            most = self._sessions.settings.max_recording_seconds
            audio = ClientAudio(Encoding.UNSPECIFIED, 0, 0, max_container_seconds=most)
            recording = Recording(form.file, audio, wanted.model, wanted.decode)
            pen, language = self._written_for(wanted)
            if wanted.stream:
                return await self._streamed(request, recording, pen)
            results = await recording.written(self._sessions, pen)
            transcripts = [result.transcript for result in results]
            text = whole_text(transcripts, pen)
            match wanted.form:
                case "json":
                    return await self._answered(request, plain(text, recording.seconds))
                case "verbose_json":
                    told = verbose(text, results, recording.seconds, language, wanted.granularities)
                    return await self._answered(request, told)
                case "text":
                    body = f"{text}\n"
                case "srt":
                    body = srt(transcripts)
                case _:
                    body = vtt(transcripts)
            return await self._web.finish(request, web.Response(text=body))

    async def _streamed(self, request: web.Request, recording: Recording, pen: Pen) -> web.StreamResponse:
        """Each final as soon as it is known."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        )
        pieces = Pieces(pen)
        try:
            async with aclosing(recording.results(self._sessions)) as results:
                async for result in results:
                    if piece := pieces.add(result.transcript):
                        delta = event("transcript.text.delta", {"delta": piece})
                        await self._web.send(request, response, delta)
        except ParakeetError as error:
            if not response.prepared or isinstance(error, TimeLimit):
                raise
            # The status has been sent.
            note_error("OpenAI", whose(request), error)
            body = error_body(str(error), "server_error", None)
            await self._web.send(request, response, error_event(body))
            return await self._web.finish(request, response)
        await self._web.send(request, response, event("transcript.text.done", {"text": pieces.text}))
        return await self._web.finish(request, response)

    def _written_for(self, wanted: Wanted) -> tuple[Pen, str]:
        """What writes a recording's text, and the language to say it is in.

        Raises:
            Closed: there is no model yet.
        """
        model = self._asked.model_for(wanted.model, wanted.language)
        style = self.house.style_for(
            punctuation=True,
            profanity_filter=False,
            commands=None,
            language=wanted.language,
            spoken=model.languages,
        )
        only = model.languages[0] if len(model.languages) == 1 else ""
        return Pen(style), wanted.language or only

    async def _answered(self, request: web.Request, content: dict[str, Any]) -> web.StreamResponse:
        body = json.dumps(content, ensure_ascii=False).encode()
        return await self._web.finish(request, web.Response(body=body, content_type="application/json"))
