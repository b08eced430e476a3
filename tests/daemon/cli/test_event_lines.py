"""What `parakeetd listen` prints for programs."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from parakeetd.audio.level import Level
from parakeetd.cli.event_lines import BAR_LETTERS, Waybar, json_line
from parakeetd.cli.following import Absent, Happening
from parakeetd.dictation import Final, Interim, Loudness, State

LISTENING = State("listening", 3, "mic", "Desk Microphone")


def module(*events: Happening) -> dict[str, Any]:
    """What Waybar is told after the last of these."""
    waybar = Waybar()
    return [json.loads(waybar.line(event)) for event in events][-1]


def read_as_markup(text: str) -> str:
    """What is seen of it: Pango's markup is XML."""
    return ElementTree.fromstring(f"<markup>{text}</markup>").text or ""


def test_each_event_is_an_object_of_its_own_kind() -> None:
    events = (
        LISTENING,
        Loudness(Level(-30.04, -12.0)),
        Interim(3, "å", 0.5),
        Final(3, "å b", " å b", 1.0, 2.5),
    )
    assert [json.loads(json_line(event)) for event in events] == [
        {
            "event": "state",
            "phase": "listening",
            "session": 3,
            "device": "mic",
            "title": "Desk Microphone",
            "muted": False,
            "problem": "",
        },
        {"event": "level", "rms_db": -30.0, "peak_db": -12.0},
        {"event": "interim", "session": 3, "text": "å", "stability": 0.5},
        {"event": "final", "session": 3, "text": "å b", "added": " å b", "start": 1.0, "end": 2.5},
    ]


def test_an_event_is_one_line_whatever_was_said() -> None:
    line = json_line(Final(1, "one\ntwo\u2028", "one\ntwo\u2028", 0, 1))
    assert len(line.split("\n")) == 1
    assert json.loads(line)["text"] == "one\ntwo\u2028"


def test_a_daemon_that_is_not_there_is_a_state_too() -> None:
    told = json.loads(json_line(Absent("no daemon listens")))
    assert (told["event"], told["phase"], told["problem"]) == ("state", "absent", "no daemon listens")


def test_a_module_has_the_phase_as_its_class_and_the_device_in_its_tooltip() -> None:
    assert module(LISTENING) == {
        "text": "",
        "alt": "listening",
        "class": "listening",
        "tooltip": "listening: Desk Microphone",
    }
    assert module(LISTENING, Absent("gone"))["class"] == "absent"
    assert module(LISTENING, Absent("gone"))["tooltip"] == "gone"


def test_a_muted_microphone_has_a_class_of_its_own() -> None:
    assert module(State("listening", 1, "mic", "Desk", muted=True))["class"] == "muted"


def test_what_is_said_stands_in_the_bar_until_the_microphone_is_closed() -> None:
    said = (LISTENING, Interim(3, "one"), Interim(3, "one two"), Final(3, "one two", "one two", 0, 1))
    assert module(*said)["text"] == "one two"
    assert module(*said, State("idle", 3, "mic", "Desk Microphone"))["text"] == ""


def test_signs_of_markup_are_read_as_they_were_written() -> None:
    told = module(State("listening", 1, "mic", "R&D <desk>"), Interim(1, "a < b & \"c\" 'd'"))
    assert read_as_markup(told["text"]) == "a < b & \"c\" 'd'"
    assert read_as_markup(told["tooltip"]) == "listening: R&D <desk>"


def test_a_long_text_is_cut_before_it_is_made_markup() -> None:
    told = module(LISTENING, Interim(3, "<& " * 40))
    assert len(read_as_markup(told["text"])) <= BAR_LETTERS


def test_a_bar_has_one_line_and_nothing_to_take_back() -> None:
    assert module(LISTENING, Final(3, "\b\b\bone\ntwo", "\b\b\bone\ntwo", 0, 1))["text"] == "one two"
