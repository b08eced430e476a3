"""What the sound server's own commands print, read."""

from __future__ import annotations

from typing import Any

import pytest

from parakeetd.audio.sources.capture import Listing, Source
from parakeetd.audio.sources.pulse import concerns_sources, read_listing

MONITOR = {
    "index": 0,
    "state": "RUNNING",
    "name": "speaker.monitor",
    "description": "Monitor of Speaker",
    "mute": False,
    "monitor_source": "speaker",
    "properties": {"device.class": "monitor"},
}
MICROPHONE = {
    "index": 7,
    "state": "SUSPENDED",
    "name": "mic",
    "description": "Tischmikrofon",
    "mute": True,
    "monitor_source": "",
    "properties": {"device.class": "sound"},
}


def output(source: int, mark: str) -> dict[str, Any]:
    return {"index": 3, "source": source, "properties": {"parakeetd.recorder": mark}}


def test_sources_are_read_with_what_they_are() -> None:
    found = read_listing({"default_source_name": "mic"}, [MONITOR, MICROPHONE], [], mark="a")
    assert found == Listing(
        (
            Source("speaker.monitor", "Monitor of Speaker", monitor=True),
            Source("mic", "Tischmikrofon", suspended=True, muted=True),
        ),
        "mic",
        "",
    )


def test_our_recorder_is_told_from_others_by_its_mark() -> None:
    outputs = [output(0, "b"), output(7, "a"), {"source": 0, "properties": {}}]
    assert read_listing({}, [MONITOR, MICROPHONE], outputs, mark="a").recorded == "mic"
    assert read_listing({}, [MONITOR, MICROPHONE], outputs, mark="c").recorded == ""


@pytest.mark.parametrize(
    ("line", "concerns"),
    [
        ("Event 'change' on server #4294967295", True),
        ("Event 'remove' on source #3", True),
        ("Event 'change' on source-output #119", True),
        ("Event 'new' on client #93", False),
        ("Event 'change' on sink #1", False),
        ("Event 'remove' on sink-input #1", False),
    ],
)
def test_only_what_concerns_sources_is_looked_at(line: str, concerns: bool) -> None:
    assert concerns_sources(line) is concerns
