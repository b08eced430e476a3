"""Damaged input, by seeded changes to good input: nothing crashes, hangs or answers as if the daemon were at fault.

`tests/bench/fuzz.py` is the long form.
"""

from __future__ import annotations

import logging

import pytest

from fuzz_targets import TARGETS, Target
from fuzz_wire import SAID, send_damaged, text_of_a_clip

CASES, DEEP_CASES, MESSAGES, SEED = 150, 10, 300, 20261122


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_reader_takes_damaged_input_or_says_in_one_line_what_is_wrong(target: Target) -> None:
    logging.disable(logging.WARNING)
    try:
        cases = range(DEEP_CASES if target.name == "bundles" else CASES)
        taken = [target.holds(target.case(number, SEED)) for number in cases]
    finally:
        logging.disable(logging.NOTSET)
    # Changes that are always refused at the first byte would prove nothing.
    assert not all(taken)
    assert target.name == "bundles" or any(taken)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_input_that_is_not_damaged_is_taken(target: Target) -> None:
    assert all(target.holds(seed) for seed in target.seeds())


async def test_a_daemon_answers_damaged_messages_as_such_and_goes_on(address: str) -> None:
    answered = await send_damaged(address, range(MESSAGES), SEED)
    assert answered.errors == []
    assert answered.cases == MESSAGES
    assert {"OK", "INVALID_ARGUMENT"} <= set(answered.codes)
    assert await text_of_a_clip(address) == SAID
