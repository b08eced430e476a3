"""How the daemon's log is written, and whose line a line is. What people say is never in it."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal

Format = Literal["text", "json", "journal"]
"""`journal` is text with systemd's priority before each line (sd-daemon(3))."""

STREAM: ContextVar[str] = ContextVar("stream", default="")
"""Of the stream that this task serves, or empty."""

_PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


@contextmanager
def stream_id() -> Iterator[str]:
    """A name for a stream that begins. All that is logged meanwhile, in this task and those that it starts, has it."""
    name = secrets.token_hex(4)
    before = STREAM.get()
    STREAM.set(name)
    try:
        yield name
    finally:
        # Not a token's reset: a generator may be closed in another context than it ran in.
        STREAM.set(before)


class StreamNoted(logging.Filter):
    """Gives each record the stream that it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.stream = STREAM.get()
        return True


class Text(logging.Formatter):
    """`[stream] message`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        stream = getattr(record, "stream", "")
        return f"[{stream}] {super().format(record)}" if stream else super().format(record)


class Journal(Text):
    """Each line with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{_PRIORITIES.get(record.levelname, 5)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines())


class Json(logging.Formatter):
    """An object a line: `time`, `level`, `logger`, `message`, and `stream` and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if stream := getattr(record, "stream", ""):
            fields["stream"] = stream
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def use(form: Format, *, debug: bool = False, handlers: Sequence[logging.Handler] | None = None) -> None:
    """Write the log in this form from now on.

    Args:
        debug: text names level and logger, too.
        handlers: those that write it; all of the program when not given.
    """
    text = "%(levelname)s %(name)s: %(message)s" if debug else "%(message)s"
    formatters: dict[Format, logging.Formatter] = {
        "text": Text(text),
        "json": Json(),
        "journal": Journal(text),
    }
    for handler in logging.getLogger().handlers if handlers is None else handlers:
        handler.setFormatter(formatters[form])
        handler.addFilter(StreamNoted())
