"""What follows from a failed call, and whom to ask next."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.cli.bulk.patience import (
    LONGEST_PAUSE_SECONDS,
    Places,
    Tries,
    Verdict,
    judge,
    pause_seconds,
)

Code = grpc.StatusCode
NEVER = float("-inf")


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
def test_who_is_away_or_full_is_asked_again_until_patience_ends(code: grpc.StatusCode) -> None:
    assert judge(code, Tries(40, 100.0), 399.0, 300.0, NEVER) is Verdict.AGAIN
    # Nobody was answered since: the others would fare no better.
    assert judge(code, Tries(40, 100.0), 400.0, 300.0, 99.0) is Verdict.END
    # Others were: it is this file.
    assert judge(code, Tries(40, 100.0), 400.0, 300.0, 101.0) is Verdict.FAILED


@pytest.mark.parametrize("code", [Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN, Code.ABORTED])
def test_what_a_proxy_may_say_of_a_dead_machine_is_tried_five_times(code: grpc.StatusCode) -> None:
    tried = [judge(code, Tries(failures, 0.0), 1.0, 300.0, NEVER) for failures in (1, 4, 5)]
    assert tried == [Verdict.AGAIN, Verdict.AGAIN, Verdict.FAILED]


@pytest.mark.parametrize(
    "code", [Code.INVALID_ARGUMENT, Code.DEADLINE_EXCEEDED, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE]
)
def test_what_is_about_the_file_fails_it_at_once(code: grpc.StatusCode) -> None:
    assert judge(code, Tries(1, 0.0), 0.0, 300.0, NEVER) is Verdict.FAILED


@pytest.mark.parametrize(
    "code", [Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED, Code.NOT_FOUND]
)
def test_what_would_meet_every_file_ends_the_run(code: grpc.StatusCode) -> None:
    assert judge(code, Tries(1, 0.0), 0.0, 300.0, 0.0) is Verdict.END


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_to_a_bound_and_are_never_nothing(failures: int, chance: float) -> None:
    pause = pause_seconds(failures, chance)
    assert 0.25 <= pause <= LONGEST_PAUSE_SECONDS
    assert pause_seconds(failures + 1, chance) >= pause
    assert pause_seconds(failures, 1.0) <= 2 * pause


def test_calls_are_spread_over_all_addresses() -> None:
    places = Places(["a", "b", "c"])
    assert [places.take(0.0) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    places.give_back(1, 0.0, failed=False)
    assert places.take(0.0) == 1


def test_where_a_call_failed_none_is_made_for_a_while_if_there_is_another() -> None:
    places = Places(["a", "b"])
    places.give_back(places.take(0.0), 0.0, failed=True)
    assert [places.take(0.1) for _ in range(3)] == [1, 1, 1]
    assert places.take(0.5) == 0
    places.give_back(0, 0.5, failed=True)
    # The second time it is left alone for longer.
    assert places.take(1.2) == 1
    assert places.take(1.5) == 0


def test_where_all_calls_fail_the_emptiest_is_asked_all_the_same() -> None:
    places = Places(["a", "b"])
    for _ in range(2):
        places.give_back(places.take(0.0), 0.0, failed=True)
    assert {places.take(0.1), places.take(0.1)} == {0, 1}
