"""What the log says of requests that came through an adapter: how they ended, never what was said."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from parakeetd.errors import InputError, ParakeetError, TooLong
from parakeetd.logs import stream_id
from parakeetd.session import Client

_log = logging.getLogger(__name__)

UNEXPECTED = "an unexpected error in the daemon; its log has the details"


@contextmanager
def noted(what: str, client: Client) -> Iterator[None]:
    """A stream or a recording gets a name in the log, and a line there when it has ended."""
    begun = time.monotonic()
    with stream_id():
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            _log.info(
                "%s from %s: ended by the client after %.1f s", what, client.name, time.monotonic() - begun
            )
            raise
        except ParakeetError as error:
            note_error(what, client, error)
            raise
        else:
            _log.info("%s from %s: answered after %.1f s", what, client.name, time.monotonic() - begun)


def note_error(what: str, client: Client, error: ParakeetError) -> None:
    """Log what a client is told."""
    if isinstance(error, InputError) and not isinstance(error, TooLong):
        # It may quote what the client sent: phrases, the first bytes of its audio.
        _log.info("%s from %s: %s", what, client.name, type(error).__name__)
        _log.debug("%s from %s: %s", what, client.name, error)
    else:
        _log.info("%s from %s: %s: %s", what, client.name, type(error).__name__, error)
