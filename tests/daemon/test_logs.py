from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

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
