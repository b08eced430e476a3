"""What `parakeetd dictate --notify` shows."""

from __future__ import annotations

import pytest

from commands import Command
from parakeetd.cli.dictate import _to_notify
from parakeetd.cli.following import Absent
from parakeetd.dictation import Final, Interim, State


def test_an_interim_is_shown_and_its_final_stays_until_the_next_one() -> None:
    assert _to_notify(Interim(1, "one")) == "one"
    assert _to_notify(Final(1, "one\ntwo", "one\ntwo", 0, 1)) == "one two"


def test_a_text_that_is_withdrawn_or_only_takes_back_changes_nothing() -> None:
    assert _to_notify(Interim(1, "")) is None
    assert _to_notify(Final(1, "\b\b", "\b\b", 0, 1)) is None


def test_the_notification_goes_with_the_session_and_with_the_daemon() -> None:
    assert _to_notify(State("listening", 1)) is None
    assert _to_notify(State("finishing", 1)) is None
    assert _to_notify(State("idle", 1)) == ""
    assert _to_notify(Absent("no daemon")) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dictate", "--stay", "--device", "mic"), "with --stay no microphone is opened"),
        (("listen", "--stay", "--device", "mic"), "with --stay no microphone is opened"),
        (("listen", "--levels"), "--levels is for --format json"),
        (("listen", "--lines", "3"), "--lines is for --captions FILE"),
    ],
)
def test_options_that_do_not_go_together_are_named(parakeetd: Command, words: list[str], said: str) -> None:
    outcome = parakeetd(*words)
    assert outcome.code == 2
    assert said in outcome.error
