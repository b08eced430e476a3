"""What networks on the CPU keep of the memory that their runs took.

How much a device takes depends on its processor: ours is compared with the same runs where nothing is given back.
"""

from __future__ import annotations

import pytest

from kept_memory import kept_mb


@pytest.mark.parametrize("load", ["lengths", "windows"])
def test_no_length_of_a_run_leaves_memory_behind(load: str) -> None:
    # Here 9 and 3.5 MB with plans, 1 and 0.2 without.
    assert kept_mb("ours", load) < kept_mb("plans kept", load) / 2


def test_a_batch_of_long_utterances_gives_its_memory_back() -> None:
    # Here 225 MB and 13 to 53: what holds the first results while the others are computed.
    assert kept_mb("ours", "batch") < kept_mb("nothing given back", "batch") / 2
