"""The form of a request, `multipart/form-data`, read within limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from parakeetd.entrance.limits import CallLimits
from parakeetd.errors import InputError, TimeLimit, TooLong

FILE: Final = "file"

_MOST_PARTS: Final = 1000
_MOST_OF_A_FIELD: Final = 64 << 10
"""Bytes."""
_READ_BYTES: Final = 64 << 10


@dataclass(slots=True)
class Form:
    """What a client sends."""

    file: bytes | None = None
    fields: dict[str, list[str]] = field(default_factory=dict)
    """Values in order; `name[]` is `name`."""


async def read_form(request: web.Request, limits: CallLimits) -> Form:
    """All of a form.

    Raises:
        InputError: it is none, or damaged; TooLong: it is longer than a message may be; TimeLimit: it did not arrive.
    """
    most = limits.max_message_mib << 20
    if request.content_length is not None and request.content_length > most:
        raise _over(limits)
    if request.content_type != "multipart/form-data":
        raise InputError(f"the request must be multipart/form-data, not {request.content_type}")
    try:
        async with asyncio.timeout(limits.upload_seconds):
            return await _parts(request, limits)
    except TimeoutError:
        raise TimeLimit(
            f"the request did not arrive within {limits.upload_seconds:g} s (limits.upload_seconds)"
        ) from None
    except web.HTTPRequestEntityTooLarge:
        raise _over(limits) from None
    except (ValueError, AssertionError, web.RequestPayloadError, HttpProcessingError) as error:
        raise InputError(f"the form of the request cannot be read: {error}") from None


async def _parts(request: web.Request, limits: CallLimits) -> Form:
    form, left = Form(), limits.max_message_mib << 20
    parts = await request.multipart()
    count = 0
    while (part := await parts.next()) is not None:
        count += 1
        if count > _MOST_PARTS:
            raise InputError(f"the form has more than {_MOST_PARTS} parts")
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise InputError("the form has a part without a name")
        is_file = part.name == FILE
        data = bytearray()
        while chunk := await part.read_chunk(_READ_BYTES):
            data += chunk
            left -= len(chunk)
            if left < 0:
                raise _over(limits)
            if not is_file and len(data) > _MOST_OF_A_FIELD:
                raise TooLong(f"the field {part.name[:100]!r} is longer than {_MOST_OF_A_FIELD} bytes")
        if not is_file:
            form.fields.setdefault(part.name.removesuffix("[]"), []).append(data.decode("utf-8"))
        elif form.file is not None:
            raise InputError("the form has more than one file; send one a request")
        else:
            form.file = bytes(data)
    return form


def _over(limits: CallLimits) -> TooLong:
    return TooLong(
        f"the request is longer than {limits.max_message_mib} MiB (limits.max_message_mib): send FLAC, or the "
        "recording in parts"
    )
