"""Drives the `openai` package, in its environment: `openai_client.py WHAT URL [ARGUMENT...]`; prints JSON.

An error that it raises is printed as its class, its status and what the server said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import openai  # type: ignore[import-not-found]  # in the client's environment only

KEY = "no-key-is-needed"


def client(url: str, key: str = KEY) -> Any:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def transcription(url: str, file: str, form: str, *granularities: str) -> Any:
    """A recording as a whole."""
    wanted: dict[str, Any] = {"timestamp_granularities": list(granularities)} if granularities else {}
    answer = client(url).audio.transcriptions.create(
        model="whisper-1", file=Path(file), response_format=form, language="en", **wanted
    )
    return answer if isinstance(answer, str) else answer.model_dump()


def streamed(url: str, file: str) -> list[dict[str, Any]]:
    """The events of `stream=True`."""
    events = client(url).audio.transcriptions.create(model="whisper-1", file=Path(file), stream=True)
    return [event.model_dump(exclude_none=True) for event in events]


def models(url: str, key: str = KEY) -> list[str]:
    """Names of what is served, each asked for by itself too."""
    server = client(url, key)
    return [server.models.retrieve(model.id).id for model in server.models.list()]


WAYS = {way.__name__: way for way in (transcription, streamed, models)}

if __name__ == "__main__":
    try:
        told = WAYS[sys.argv[1]](*sys.argv[2:])
    except openai.APIStatusError as error:
        told = {"error": type(error).__name__, "status": error.status_code, "body": error.body}
    json.dump(told, sys.stdout)
