"""`python -m parakeetd_convert`: the command where no script is installed."""

from __future__ import annotations

from parakeetd_convert.cli import main

main()
