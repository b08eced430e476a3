"""`parakeetd` on a machine without a GPU as if it had one: `python stand_in_daemon.py KIND ARGUMENTS...` is `parakeetd
ARGUMENTS...` with a child process of this kind (`stand_in_child.py`) on device cuda.

It is quicker than the daemon to take a child for hung, and to replace it: faults come by the hundred.
"""

from __future__ import annotations

import sys
from functools import partial

import stand_in_child
from parakeetd import engines
from parakeetd.child import home
from parakeetd.cli import main
from parakeetd.routing import Router, engine_record

RETRY_SECONDS = 0.3
HUNG_SECONDS = 1.5
OPENING_PATIENCE_SECONDS = 5.0


def stand_in(kind: str) -> None:
    """From now on `serve` finds a GPU here."""
    engines.CHILD = stand_in_child.command(kind)
    vars(engines)["driver_is_installed"] = lambda: True
    vars(engines)["Router"] = partial(Router, retry_seconds=RETRY_SECONDS)
    engine_record.HUNG_SECONDS = HUNG_SECONDS
    if kind == "model":
        vars(home)["OPENING_PATIENCE_SECONDS"] = OPENING_PATIENCE_SECONDS


if __name__ == "__main__":
    stand_in(sys.argv.pop(1))
    main()
