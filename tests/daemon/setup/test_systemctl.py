"""What systemd is asked to do, as a table."""

from __future__ import annotations

import pytest

from parakeetd.setup.systemctl import Call, State, calls_to_run, calls_to_stop

UNIT = "parakeetd.service"
RELOAD: Call = ("daemon-reload",)
ENABLE: Call = ("enable", UNIT)
RESET: Call = ("reset-failed", UNIT)
RESTART: Call = ("restart", UNIT)

NOTHING = State(loaded=False, enabled=False, active=False)
RUNS = State(loaded=True, enabled=True, active=True)
ENDED = State(loaded=True, enabled=True, active=False)


@pytest.mark.parametrize(
    ("state", "unit", "settings", "calls"),
    [
        (NOTHING, True, True, [RELOAD, ENABLE, RESTART]),
        (NOTHING, False, False, [RELOAD, ENABLE, RESTART]),
        (RUNS, False, False, []),
        (RUNS, True, False, [RELOAD, RESET, RESTART]),
        (RUNS, False, True, [RESET, RESTART]),
        (ENDED, False, False, [RESET, RESTART]),
        (State(loaded=True, enabled=False, active=True), False, False, [ENABLE]),
    ],
)
def test_only_what_is_missing_is_asked_for(
    state: State, unit: bool, settings: bool, calls: list[Call]
) -> None:
    assert calls_to_run(state, unit_changed=unit, settings_changed=settings) == calls


@pytest.mark.parametrize(
    ("state", "calls"),
    [
        (RUNS, [("stop", UNIT), ("disable", UNIT)]),
        (ENDED, [("disable", UNIT)]),
        (NOTHING, []),
        (State(loaded=True, enabled=False, active=True), [("stop", UNIT)]),
    ],
)
def test_only_what_is_there_is_ended(state: State, calls: list[Call]) -> None:
    assert calls_to_stop(state) == calls
