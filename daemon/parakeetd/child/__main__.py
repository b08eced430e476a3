"""`python -m parakeetd.child`: started by the daemon, for nobody else."""

from __future__ import annotations

import sys

from parakeetd.child.serve import main

main(sys.argv[1:])
