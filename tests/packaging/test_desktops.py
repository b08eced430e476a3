"""What `daemon/DESKTOPS.md` has people write into the files of their desktops."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from parakeetd.cli import parakeetd
from parakeetd.cli.event_lines import Waybar, json_line
from parakeetd.desktop import INTERFACE, PATH
from parakeetd.dictation import Final, Interim, Phase, State
from recipes import recipes

KEYS = "org.gnome.settings-daemon.plugins.media-keys"
MINE = "/org/gnome/settings-daemon/plugins/media-keys/custom-keybindings/parakeetd/"
CALL = ["busctl", "--user", "call", INTERFACE, PATH, INTERFACE]


@pytest.fixture
def gsettings(tmp_path: Path) -> dict[str, str]:
    """The environment of a GNOME with the settings of a new user."""
    if not shutil.which("gsettings"):
        pytest.skip("gsettings is missing: apt-get install libglib2.0-bin")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GSETTINGS_BACKEND": "keyfile"}
    found = subprocess.run(["gsettings", "list-schemas"], env=env, capture_output=True, text=True, check=True)
    if KEYS not in found.stdout.split():
        pytest.skip("GNOME's schemas are missing: apt-get install gnome-settings-daemon-common")
    return env


def got(env: dict[str, str], schema: str, key: str) -> Any:
    command = ["gsettings", "get", schema, key]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return ast.literal_eval(said.removeprefix("@as "))


def run_recipe(env: dict[str, str]) -> None:
    done = subprocess.run(["sh", "-eu", "-c", recipes()["gnome"]], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_gnome_knows_the_key_afterwards_once(gsettings: dict[str, str]) -> None:
    for _ in range(2):
        run_recipe(gsettings)
        assert got(gsettings, KEYS, "custom-keybindings") == [MINE]
    mine = f"{KEYS}.custom-keybinding:{MINE}"
    assert shlex.split(got(gsettings, mine, "command")) == [*CALL, "Toggle"]
    assert got(gsettings, mine, "binding") == "<Super>y"
    assert got(gsettings, mine, "name")


def test_keys_that_gnome_had_before_stay(gsettings: dict[str, str]) -> None:
    theirs = [f"/org/gnome/settings-daemon/plugins/media-keys/custom-keybindings/custom{n}/" for n in (0, 1)]
    subprocess.run(["gsettings", "set", KEYS, "custom-keybindings", str(theirs)], env=gsettings, check=True)
    run_recipe(gsettings)
    assert got(gsettings, KEYS, "custom-keybindings") == [*theirs, MINE]


@pytest.mark.parametrize("name", ["kde", "autostart"])
def test_desktop_files_are_valid(name: str, tmp_path: Path) -> None:
    if not shutil.which("desktop-file-validate"):
        pytest.skip("desktop-file-validate is missing: apt-get install desktop-file-utils")
    file = tmp_path / f"parakeetd-{name}.desktop"
    file.write_text(recipes()[name])
    done = subprocess.run(["desktop-file-validate", file], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_keys_and_clicks_send_is_what_the_daemon_offers() -> None:
    calls = [
        line.split("busctl", 1)[1]
        for text in recipes().values()
        for line in text.splitlines()
        if "busctl" in line
    ]
    assert len(calls) == 4
    for call in calls:
        words = shlex.split("busctl" + call.rstrip(",").rstrip("'\""))
        assert words[: len(CALL)] == CALL
        assert words[len(CALL) :] in ([], ["Toggle"])


def test_our_commands_take_the_options_that_are_written_there() -> None:
    commands = [
        line[line.index("parakeetd ") :].split('"')[0]
        for text in recipes().values()
        for line in text.splitlines()
        if "parakeetd listen" in line or "parakeetd dictate" in line
    ]
    assert len(commands) == 5
    for words in map(shlex.split, commands):
        command = parakeetd.get_command(click.Context(parakeetd), words[1])
        assert command is not None
        command.make_context(words[1], words[2:])


def test_the_bar_has_a_sign_for_each_way_the_microphone_may_stand() -> None:
    module = json.loads(recipes()["waybar"])["custom/dictation"]
    assert set(module["format-icons"]) == {"absent", "muted", *get_args(Phase)}
    waybar = Waybar()
    for phase in get_args(Phase):
        assert json.loads(waybar.line(State(phase)))["alt"] in module["format-icons"]
    assert json.loads(waybar.line(State("listening", muted=True)))["alt"] in module["format-icons"]
    styled = {line.split(" ")[0] for line in recipes()["waybar-style"].replace(", ", "\n").splitlines()}
    assert styled <= {f"#custom-dictation.{name}" for name in module["format-icons"]}


def test_events_look_as_they_are_written_there() -> None:
    lines = recipes()["json-lines"].splitlines()
    events = (
        State("listening", 1, "mic", "Desk Microphone"),
        Interim(1, "rubout"),
        Final(1, "rubout nine two six", "rubout nine two six", 0.53, 2.87),
    )
    assert [json_line(event) for event in events] == lines
