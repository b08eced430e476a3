"""What `parakeetd listen` shows."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.live import Live

from parakeetd.audio.level import Level
from parakeetd.cli.captions import METER_WIDTH, Captions, meter, tail
from parakeetd.dictation import Event, Final, Interim, Loudness, State

LISTENING = State("listening", 1, "mic", "Desk Microphone")


def screen(*events: Event, width: int = 60) -> tuple[list[str], list[str]]:
    """Lines that have scrolled, and lines below them, after these events."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    live = Live(console=console, auto_refresh=False)
    captions = Captions(live)
    with console.capture() as scrolled:
        for event in events:
            captions.show(event)
    with console.capture() as below:
        console.print(live.get_renderable())
    return scrolled.get().splitlines(), below.get().splitlines()


def test_finals_scroll_and_the_open_utterance_stands_below_with_the_device() -> None:
    scrolled, below = screen(LISTENING, Final(1, "one two", "one two", 0, 1), Interim(1, "three"))
    assert "one two" in [line.strip() for line in scrolled]
    assert below[0].strip() == "three"
    assert below[1].endswith("listening: Desk Microphone")


def test_a_final_takes_the_place_of_its_interim() -> None:
    _, below = screen(LISTENING, Interim(1, "one"), Final(1, "one", "one", 0, 1))
    assert len(below) == 1


def test_a_command_that_only_takes_back_prints_no_empty_line() -> None:
    scrolled, _ = screen(LISTENING, Final(1, "", "\b\b", 0, 1))
    assert not [line for line in scrolled if line.strip()]


def test_a_microphone_that_is_muted_or_interrupted_is_said_to_be() -> None:
    _, below = screen(State("listening", 1, "mic", "Desk", muted=True))
    assert below[0].endswith("listening: Desk (muted)")
    _, below = screen(State("interrupted", 1, "mic", "Desk", problem="Desk is suspended"))
    assert below[0].endswith("interrupted: Desk is suspended")


def test_the_meter_follows_the_level_while_it_listens() -> None:
    _, quiet = screen(LISTENING, Loudness(Level(-96.0, -96.0)))
    _, loud = screen(LISTENING, Loudness(Level(-6.0, -1.0)))
    assert quiet[0].count("█") == 0
    assert loud[0].count("█") > METER_WIDTH / 2


@pytest.mark.parametrize(
    ("db", "full"), [(-96.0, 0), (-60.0, 0), (-30.0, METER_WIDTH // 2), (0.0, METER_WIDTH)]
)
def test_a_meter_goes_from_a_quiet_room_to_full_scale_and_keeps_its_width(db: float, full: int) -> None:
    assert meter(db).count("█") == full
    assert len(meter(db)) == METER_WIDTH


def test_of_a_long_interim_the_end_is_shown_from_a_whole_word_on() -> None:
    text = " ".join(f"word{number}" for number in range(100))
    assert tail(text, 30) == "…word96 word97 word98 word99"
    assert tail("short", 30) == "short"


def test_without_a_terminal_only_finals_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    captions = Captions(None)
    for event in (LISTENING, Loudness(Level(-6, -1)), Interim(1, "on"), Final(1, "one", "one", 0, 1)):
        captions.show(event)
    assert capsys.readouterr().out == "one\n"
