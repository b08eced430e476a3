"""Sessions that end in every way: nothing of them is left in the daemon, and it drains when it is told to end.

`tests/bench/endings.py` and `tests/bench/terminate.py` are the long forms.
"""

from __future__ import annotations

from session_endings import CONFIG, SESSIONS, end_sessions
from terminated import terminate
from watching import watched

SETTLE_SECONDS = 60.0


async def test_nothing_is_left_of_sessions_however_they_end() -> None:
    with watched(config=CONFIG) as daemon:
        await end_sessions(daemon.address, 40, 1)
        before = daemon.alive()
        found = await end_sessions(daemon.address, 60, 2)
        after = daemon.settled(before, SETTLE_SECONDS)
        code = daemon.end()
    assert found.wrong == []
    assert set(found.sessions) == {*SESSIONS, "client killed", "refused"}
    assert after.left_over(before) == []
    assert daemon.errors() == []
    assert code == 0


def test_a_daemon_under_load_answers_what_it_accepted_and_is_gone_in_time() -> None:
    made = terminate(streams=6, after=6.0)
    assert made.problems == []
    assert made.utterances >= 6
    assert made.code == 0
