from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import queue
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from parakeetd import logs
from parakeetd.logs import STREAM, Journal, Json, StreamNoted, Text, stream_id

log = logging.getLogger("parakeetd.test")


class Written(io.StringIO):
    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


@pytest.fixture
def written() -> Iterator[tuple[Written, logging.Handler]]:
    stream = Written()
    handler = logging.StreamHandler(stream)
    handler.addFilter(StreamNoted())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield stream, handler
    log.removeHandler(handler)


def test_text_begins_with_the_stream_that_it_is_about(written: tuple[Written, logging.Handler]) -> None:
    stream, handler = written
    handler.setFormatter(Text("%(message)s"))
    log.info("before")
    with stream_id() as name:
        log.info("during %d", 1)
    log.info("after")
    assert stream.lines == ["before", f"[{name}] during 1", "after"]


def test_an_object_a_line_is_json_with_all_its_fields(written: tuple[Written, logging.Handler]) -> None:
    stream, handler = written
    handler.setFormatter(Json())
    with stream_id() as name:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            log.exception("it\nbroke")
    log.info("plain")
    broke, plain = map(json.loads, stream.lines)
    assert (broke["level"], broke["logger"], broke["message"]) == ("error", "parakeetd.test", "it\nbroke")
    assert broke["stream"] == name
    assert "ValueError: two\nlines" in broke["traceback"]
    assert plain["time"].endswith("+00:00")
    assert not {"stream", "traceback"} & set(plain)


def test_each_line_for_the_journal_has_its_priority(written: tuple[Written, logging.Handler]) -> None:
    stream, handler = written
    handler.setFormatter(Journal("%(message)s"))
    log.info("fine")
    log.warning("two\nlines")
    log.error("bad")
    assert stream.lines == ["<6>fine", "<4>two", "<4>lines", "<3>bad"]


async def test_streams_have_names_of_their_own_and_their_tasks_inherit_them() -> None:
    async def stream() -> tuple[str, str]:
        with stream_id() as name:
            inherited = await asyncio.create_task(inner())
            return name, inherited

    async def inner() -> str:
        return await asyncio.to_thread(STREAM.get)

    found = await asyncio.gather(*(stream() for _ in range(5)))
    assert len({name for name, _ in found}) == 5
    assert all(name == inherited for name, inherited in found)
    assert STREAM.get() == ""


def test_the_form_can_be_changed(written: tuple[Written, logging.Handler]) -> None:
    stream, handler = written
    logs.use("json", handlers=[handler])
    log.warning("one")
    logs.use("text", debug=True, handlers=[handler])
    log.warning("two")
    assert json.loads(stream.lines[0])["message"] == "one"
    assert stream.lines[1] == "WARNING parakeetd.test: two"


def _piped(room: int) -> tuple[logs.Background, int, int]:
    """What writes to a pipe, and the pipe's ends."""
    reading, writing = os.pipe()
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logs.Text("%(message)s"))
    return logs.Background(handler, writing, room=room), reading, writing


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("parakeetd", logging.INFO, "", 0, "%s", (text,), None)


def test_whoever_logs_does_not_wait_for_a_reader_that_has_stopped() -> None:
    background, reading, writing = _piped(room=100)
    for number in range(3000):
        background.handle(_record(f"{number:04} " + "x" * 200))
    # It reads again: what was left out is counted.
    numbers: list[int] = []
    left_out = 0
    with os.fdopen(reading, "r") as pipe:
        while len(numbers) + left_out < 3000:
            line = pipe.readline()
            if told := re.match(r"(\d+) lines of the log were left out: nobody read it$", line):
                left_out += int(told[1])
            else:
                numbers.append(int(line[:4]))
        background.end(10)
    os.close(writing)
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert left_out


def test_a_log_that_nobody_reads_does_not_keep_the_daemon_from_ending() -> None:
    background, reading, writing = _piped(room=10_000)
    for _ in range(1000):
        background.handle(_record("x" * 200))
    background.end(0.1)
    os.close(reading)
    os.close(writing)


def test_a_log_that_is_read_again_only_at_the_end_does_not_keep_the_daemon_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    background, reading, writing = _piped(room=100)
    for _ in range(1000):
        background.handle(_record("x" * 200))

    def read_all() -> None:
        while os.read(reading, 1 << 16):
            pass

    reader = threading.Thread(target=read_all)

    def full_at_first(*arguments: Any, **options: Any) -> None:
        if reader.ident is None:
            # All that time nobody read; now somebody does.
            reader.start()
            raise queue.Full
        put(*arguments, **options)

    put = background._records.put
    monkeypatch.setattr(background._records, "put", full_at_first)
    ending = threading.Thread(target=background.end, args=(1.0,), daemon=True)
    ending.start()
    ending.join(30)
    assert not ending.is_alive()
    os.close(writing)
    reader.join()
    os.close(reading)


def test_what_is_written_in_the_background_has_its_stream_and_its_order(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger()
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w"))
    logger.addHandler(handler)
    try:
        logs.use("text", handlers=[handler])
        with logs.in_background():
            with logs.stream_id() as name:
                logging.getLogger("parakeetd").warning("one of %d", 2)
            logging.getLogger("parakeetd").warning("two")
    finally:
        logger.removeHandler(handler)
        handler.stream.close()
    assert capfd.readouterr().err.splitlines() == [f"[{name}] one of 2", "two"]
