"""A systemd that only writes down what it is asked."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

SYSTEMCTL = """#!{python}
import json, pathlib, sys
words = [word for word in sys.argv[1:] if word not in ("--no-pager", "--no-ask-password")]
folder = pathlib.Path({folder!r})
state = json.loads((folder / "state.json").read_text())
with (folder / "calls").open("a") as calls:
    if "show" not in words:
        calls.write(" ".join(words) + "\\n")
command = [word for word in words if word != "--user"]
if state["absent"]:
    sys.exit("Failed to connect to bus: No medium found")
if command[0] == "show":
    if "--property=Version" in command:
        print("252")
    else:
        for name, value in state["unit"].items():
            print(f"{{name}}={{value}}")
if command[0] in state["fails"]:
    sys.exit("Job for parakeetd.service failed because of a reason.\\nSee the journal.")
unit = state["unit"]
if command[0] == "enable": unit["UnitFileState"] = "enabled"
if command[0] == "disable": unit["UnitFileState"] = ""
if command[0] == "daemon-reload": unit["LoadState"] = "loaded"
if command[0] == "restart": unit["ActiveState"] = "active"
if command[0] == "stop": unit["ActiveState"] = "inactive"
(folder / "state.json").write_text(json.dumps(state))
"""

JOURNALCTL = """#!/bin/sh
echo 'cannot listen on 127.0.0.1:50051: it is in use'
"""


@dataclass
class Systemd:
    folder: Path

    @property
    def calls(self) -> list[str]:
        """What it was asked to do since the last look."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def have(self, *, absent: bool = False, fails: tuple[str, ...] = ()) -> None:
        unit = {"LoadState": "not-found", "UnitFileState": "", "ActiveState": "inactive"}
        state = {"absent": absent, "fails": fails, "unit": unit}
        (self.folder / "state.json").write_text(json.dumps(state))

    @classmethod
    def at(cls, folder: Path) -> Systemd:
        """One whose commands lie in this folder."""
        folder.mkdir()
        for name, text in {"systemctl": SYSTEMCTL, "journalctl": JOURNALCTL}.items():
            file = folder / name
            file.write_text(text.format(python=sys.executable, folder=str(folder)))
            file.chmod(0o755)
        made = cls(folder)
        made.have()
        return made
