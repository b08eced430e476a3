"""A minute's part of `tests/bench/faults.py`: everything goes wrong while people speak."""

from __future__ import annotations

from faulty_machine import endure


def test_no_utterance_is_lost_while_processes_disks_and_clocks_fail() -> None:
    made = endure(12.0, streams=3, seed=2)
    assert made.problems == []
    assert made.utterances >= 6
    assert len(made.faults) >= 3
