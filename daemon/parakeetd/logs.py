"""How the daemon's log is written, and whose line a line is. What people say is never in it."""

from __future__ import annotations

import json
import logging
import os
import queue
import random
import select
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal

Format = Literal["text", "json", "journal"]
"""`journal` is text with systemd's priority before each line (sd-daemon(3))."""

STREAM: ContextVar[str] = ContextVar("stream", default="")
"""Of the stream that this task serves, or empty."""

ROOM: Final = 10_000
"""Records that wait for who reads the log."""

END_SECONDS: Final = 1.0
"""At the end, time for them to be read."""

_PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


_NAMES: Final = random.Random()


@contextmanager
def stream_id() -> Iterator[str]:
    """A name for a stream that begins. All that is logged meanwhile, in this task and those that it starts, has it."""
    # No secret: the system's own random numbers cost a call for each stream.
    name = f"{_NAMES.getrandbits(32):08x}"
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
        # One that is written later, elsewhere, has it already.
        if not hasattr(record, "stream"):
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


class Background(logging.Handler):
    """Hands records to a thread that writes them. Whoever logs never waits for a reader of the log that has stopped,
    such as a pager or a journal with a slow disk: beyond `room` records they are left out, and counted when it reads
    again."""

    def __init__(self, handler: logging.StreamHandler[Any], file: int, *, room: int = ROOM) -> None:
        """
        Args:
            handler: how records are written.
            file: where: the descriptor of its stream.
        """
        super().__init__()
        self.addFilter(StreamNoted())
        self._handler = handler
        self._file = file
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(room)
        self._left_out = 0
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._writer = threading.Thread(target=self._write_all, name="parakeetd-log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self._left_out += 1

    def flush(self) -> None:
        """Wait until what is there is written, or for a while."""
        done = self._records.all_tasks_done
        with done:
            done.wait_for(lambda: not self._records.unfinished_tasks, END_SECONDS)

    def end(self, seconds: float) -> None:
        """Write what is there, as far as it is read within this time."""
        with suppress(queue.Full):
            self._records.put(None, timeout=seconds)
        self._writer.join(seconds)
        os.eventfd_write(self._wake, 1)
        with suppress(queue.Full):
            # There may be room by now: then the writer waits for records, not for the reader.
            self._records.put_nowait(None)
        self._writer.join()
        os.close(self._wake)

    def _write_all(self) -> None:
        while (record := self._records.get()) is not None:
            try:
                if not self._write(record):
                    return
            except Exception:
                # A line that cannot be written must not be the last one.
                self._handler.handleError(record)
            finally:
                self._records.task_done()
            if self._left_out and self._records.empty():
                left_out, self._left_out = self._left_out, 0
                text = f"{left_out} lines of the log were left out: nobody read it"
                self._write(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None))

    def _write(self, record: logging.LogRecord) -> bool:
        """False when the writer is to end."""
        if not self._handler.filter(record):
            return True
        data = (self._handler.format(record) + self._handler.terminator).encode("utf-8", "backslashreplace")
        for at in range(0, len(data), select.PIPE_BUF):
            poll = select.poll()
            poll.register(self._file, select.POLLOUT)
            poll.register(self._wake, select.POLLIN)
            if any(file == self._wake for file, _ in poll.poll()):
                return False
            try:
                # A pipe that is ready takes so much without waiting.
                os.write(self._file, data[at : at + select.PIPE_BUF])
            except OSError:
                # Its reader has left for good.
                return True
        return True


@contextmanager
def in_background(seconds: float = END_SECONDS) -> Iterator[None]:
    """Meanwhile the program's handlers that write to files of the system do so in the background."""
    root = logging.getLogger()
    before = list(root.handlers)
    made = []
    for i, handler in enumerate(before):
        if isinstance(handler, logging.StreamHandler) and (file := _file_of(handler)) is not None:
            made.append(Background(handler, file))
            root.handlers[i] = made[-1]
    try:
        yield
    finally:
        root.handlers[:] = before
        for background in made:
            background.end(seconds)


def _file_of(handler: logging.StreamHandler[Any]) -> int | None:
    try:
        return int(handler.stream.fileno())
    except (OSError, ValueError, AttributeError):
        return None


def would_wait(file: int) -> bool:
    """Whether a line would have to wait for a reader of this descriptor."""
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return not poll.poll(0)
