"""When a recorder is started, watched and replaced: decisions, without a sound server and without a clock."""

from __future__ import annotations

import pytest

from parakeetd.audio.sources.capture import (
    FIRST_SECONDS,
    SILENT_SECONDS,
    STUCK_SECONDS,
    Capture,
    Listing,
    Look,
    Record,
    Release,
    Source,
    chosen,
)

DESK = Source("desk", "Desk Microphone")
HEADSET = Source("headset", "Wireless Headset")
SPEAKER = Source("desk.monitor", "Monitor of Desk", monitor=True)
ALL = (SPEAKER, DESK, HEADSET)


def listing(default: str = "desk", recorded: str = "", *sources: Source) -> Listing:
    return Listing(sources or ALL, default, recorded)


def live(device: str = "", at: float = 10.0) -> Capture:
    """One that records from the desk's microphone, or the one named, and has just heard something."""
    capture = Capture(device)
    capture.open(at)
    name = chosen(device, listing())
    assert isinstance(name, Source)
    capture.listed(listing("desk"), at)
    capture.heard(at)
    capture.listed(listing("desk", name.name), at)
    assert capture.standing.phase == "live"
    assert capture.passing
    return capture


def test_the_default_is_recorded_at_once_and_passed_on_once_it_is_known_what_it_is() -> None:
    capture = Capture()
    assert capture.open(0.0) == [Record(), Look()]
    capture.heard(0.04)
    assert not capture.passing
    assert capture.listed(listing("desk", "desk"), 0.05) == []
    assert capture.passing
    assert capture.standing.source == DESK


def test_a_device_is_found_by_name_description_or_a_part_of_either() -> None:
    for device in ("headset", "Wireless Headset", "wireless", "HEADS"):
        capture = Capture(device)
        assert capture.open(0.0) == [Look()]
        assert capture.listed(listing(), 0.02) == [Record("headset"), Look()]


def test_a_part_that_fits_a_microphone_and_its_monitor_means_the_microphone() -> None:
    assert chosen("desk", listing()) == DESK
    assert chosen("Desk", listing()) == DESK


def test_what_a_loudspeaker_plays_can_be_recorded_when_it_is_named() -> None:
    assert chosen("desk.monitor", listing()) == SPEAKER


def test_an_unknown_device_names_those_that_there_are() -> None:
    problem = chosen("studio", listing())
    assert problem == "microphone 'studio' is not plugged in; there is: desk, headset"


def test_a_part_that_fits_several_names_them() -> None:
    assert chosen("e", listing()) == "microphone 'e' may be any of: desk, headset"


def test_a_default_that_is_what_the_loudspeakers_play_is_no_microphone() -> None:
    capture = Capture()
    capture.open(0.0)
    capture.heard(0.03)
    assert capture.listed(listing("desk.monitor", "desk.monitor", SPEAKER), 0.05) == [Release()]
    assert (capture.standing.phase, capture.standing.problem) == (
        "interrupted",
        "no microphone is plugged in",
    )


def test_nothing_is_passed_on_between_a_change_of_the_server_and_the_look_at_it() -> None:
    capture = live()
    assert capture.changed() == [Look()]
    capture.heard(10.1)
    assert not capture.passing
    capture.listed(listing("headset", "headset"), 10.2)
    assert capture.passing
    assert capture.standing.source == HEADSET


def test_a_recording_that_a_person_moved_stays_where_it_was_put() -> None:
    capture = live()
    capture.changed()
    assert capture.listed(listing("desk", "headset"), 10.1) == []
    assert capture.standing.source == HEADSET


def test_a_recording_that_was_moved_to_a_loudspeaker_is_brought_back() -> None:
    capture = live()
    capture.changed()
    assert capture.listed(listing("desk", "desk.monitor"), 11.0) == [Record(), Look()]
    assert not capture.passing


def test_a_device_that_is_named_is_not_exchanged_for_another() -> None:
    capture = live("headset")
    capture.changed()
    assert capture.listed(listing("desk", "desk", SPEAKER, DESK), 11.0) == [Release()]
    assert "not plugged in" in capture.standing.problem
    capture.changed()
    assert capture.listed(listing("desk", ""), 12.0) == [Record("headset"), Look()]


def test_silence_of_the_recorder_is_reported_after_a_second() -> None:
    capture = live(at=10.0)
    assert capture.deadline == 10.0 + SILENT_SECONDS
    assert capture.tick(10.9) == []
    assert capture.tick(11.0) == [Look()]
    assert capture.standing.problem == "nothing comes from Desk Microphone"


def test_a_suspended_source_keeps_its_recorder_and_is_heard_with_its_first_sample() -> None:
    capture = live(at=10.0)
    capture.tick(11.0)
    suspended = Source("desk", "Desk Microphone", suspended=True)
    for now in (11.1, 13.0, 60.0):
        assert capture.listed(listing("desk", "desk", suspended), now) == []
        assert capture.standing.problem == "Desk Microphone is suspended"
    capture.heard(61.0)
    assert capture.passing


def test_a_recorder_that_is_stuck_is_replaced() -> None:
    capture = live(at=10.0)
    capture.tick(11.0)
    assert capture.listed(listing("desk", "desk"), 11.1) == []
    assert capture.listed(listing("desk", "desk"), 10.0 + STUCK_SECONDS) == [Record(), Look()]


def test_a_recorder_gets_longer_for_its_first_sample() -> None:
    capture = Capture()
    capture.open(0.0)
    capture.listed(listing("desk", "desk"), 0.1)
    capture.tick(SILENT_SECONDS)
    assert capture.standing.phase == "interrupted"
    assert capture.listed(listing("desk", "desk"), FIRST_SECONDS - 0.1) == []
    assert capture.listed(listing("desk", "desk"), FIRST_SECONDS) == [Record(), Look()]


def test_a_server_that_goes_and_comes_is_asked_until_it_answers() -> None:
    capture = live(at=10.0)
    assert capture.ended("Connection terminated", 11.0) == [Look()]
    assert capture.standing.problem == "the recording ended: Connection terminated"
    for now in (11.1, 11.6, 12.1):
        assert capture.listed("the sound server does not answer", now) == []
        assert capture.deadline == pytest.approx(now + 0.5)
        assert capture.tick(now + 0.5) == [Look()]
    assert capture.listed(listing("desk"), 12.7) == [Record(), Look()]
    capture.listed(listing("desk", "desk"), 12.8)
    capture.heard(12.8)
    assert capture.passing


def test_a_recorder_that_ends_at_once_is_not_started_again_at_once() -> None:
    capture = Capture()
    capture.open(0.0)
    assert capture.ended("Stream error", 0.02) == []
    assert capture.deadline == pytest.approx(0.52)
    assert capture.tick(0.52) == [Look()]


def test_a_server_that_is_slow_to_answer_does_not_end_a_recording_that_goes_on() -> None:
    capture = live(at=10.0)
    capture.heard(12.0)
    assert capture.listed("the sound server does not answer", 12.1) == []
    assert capture.standing.phase == "live"


def test_a_server_that_does_not_say_what_is_recorded_is_told_of_and_the_recorder_stays() -> None:
    capture = Capture()
    capture.open(0.0)
    for now in (0.1, 0.6, 1.1, 1.6, 2.1):
        capture.heard(now)
        assert capture.listed("pactl: unrecognized option '--format=json'", now) == []
    assert capture.standing.phase == "interrupted"
    assert capture.standing.problem == "pactl: unrecognized option '--format=json'"
    capture.heard(2.2)
    assert not capture.passing
    assert capture.listed(listing("desk", "desk"), 2.6) == []
    assert capture.passing


def test_who_was_stopped_himself_does_not_take_the_microphone_for_silent() -> None:
    capture = live(at=10.0)
    assert capture.tick(70.0) == [Look()]
    assert capture.standing.phase == "live"


def test_a_closed_capture_does_nothing_whatever_it_hears() -> None:
    capture = live()
    assert capture.close() == [Release()]
    assert capture.close() == []
    assert capture.changed() == []
    assert capture.listed(listing(), 20.0) == []
    assert capture.ended("", 20.0) == []
    assert capture.heard(20.0) == []
    assert capture.deadline is None
    assert capture.standing.phase == "off"
