"""An installation from beginning to end, and back."""

from __future__ import annotations

import grp
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parakeetd.config import default_model, read_config
from parakeetd.errors import ConfigError, ModelNotFound, SetupError
from parakeetd.model.bundle import find_bundle, installed_names
from parakeetd.routing.calibration_file import table_file
from parakeetd.setup.files import give_to_owner, read_if_there, remove, write_if_changed
from parakeetd.setup.places import CLIENTS, Places, hidden
from parakeetd.setup.settings import with_setting
from parakeetd.setup.systemctl import Manager, NotReady, calls_to_forget, calls_to_run, calls_to_stop
from parakeetd.setup.units import unit_text

Say = Callable[[str], None]
"""Told in lines what is done."""

CONVERTER = "parakeetd_convert"
_MEASURING = 5
"""Measuring that takes so many times as long as it should is given up..."""
_LOADING_SECONDS = 120
"""...apart from the time in which a large model is loaded."""

TOOLCHAIN = ("torch", "nemo", "onnx")
"""Without these the conversion brings its own, in an environment that it removes again."""

_NEW_CONFIG = "# parakeetd's configuration; what else can be here is in the README under Configuration.\n"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to install."""

    model: str | None = None
    """Name of the model; None for the one in the configuration, or the only installed one."""
    calibrate: bool = True
    """Measure the devices, unless there is a table of the model already."""
    seconds: int = 60
    """How long to measure."""


def install(places: Places, wishes: Wishes, say: Say) -> None:
    """Have the service run, now and at each start, and answer. What is as it should be is left alone.

    Raises:
        SetupError, ConfigError, ModelNotFound, BundleError: it cannot be; the message says what to do. What was done
            until then stays, and the next installation goes on from there.
    """
    manager = Manager(system=places.system)
    command = _command(places)
    config = read_config(None, places.paths)
    model = wishes.model or config.model.name or default_model(installed_names(places.paths.models))
    _have_model(model, places, say)
    if wishes.calibrate:
        _have_times(model, wishes.seconds, places, say)
    if places.system:
        give_to_owner(places.paths.models.parent)
        _have_group(say)
    settings_changed = _have_settings(model, places, say)
    text = unit_text(system=places.system, command=command, environment=places.wanted)
    unit_changed = write_if_changed(places.unit, text)
    say(f"{'wrote' if unit_changed else 'unchanged:'} {places.unit}")
    calls = calls_to_run(manager.state(), unit_changed=unit_changed, settings_changed=settings_changed)
    for call in calls:
        say(manager.words(call))
        try:
            manager.call(call)
        except NotReady:
            for line in manager.journal():
                say(f"  {line}")
            raise
    say(f"the service serves {model}" + ("" if calls else ", as before"))
    for line in _next(places):
        say(line)


def uninstall(places: Places, say: Say, *, purge: bool) -> None:
    """End the service and remove its unit; what it was installed for stays, unless `purge`.

    Raises:
        SetupError: something cannot be removed.
    """
    manager = Manager(system=places.system)
    for call in calls_to_stop(manager.state()):
        say(manager.words(call))
        manager.call(call)
    say(f"removed {places.unit}" if remove(places.unit) else f"not there: {places.unit}")
    for call in calls_to_forget():
        manager.call(call)
    if purge:
        for folder in places.folders:
            if remove(folder):
                say(f"removed {folder}")
        if places.system and _group_exists():
            _run_or_fail(["groupdel", CLIENTS], "the group cannot be removed")
            say(f"removed the group {CLIENTS}")
    elif kept := [str(folder) for folder in places.folders if folder.exists()]:
        say(f"kept, and removed by --purge: {', '.join(kept)}")


def _command(places: Places) -> list[str]:
    """The words that run this installation's daemon.

    Raises:
        SetupError: the service could not see it.
    """
    script = Path(sys.executable).parent / "parakeetd"
    words = [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "parakeetd.cli"]
    if places.system:
        package = Path(__file__).resolve().parents[1]
        if unseen := hidden([Path(sys.executable), Path(sys.base_prefix), package]):
            raise SetupError(
                f"a system service does not see {unseen}; install parakeetd where all can read it, for example: "
                "python3 -m venv /opt/parakeetd && /opt/parakeetd/bin/pip install parakeetd"
            )
    return words


def _have_model(name: str, places: Places, say: Say) -> None:
    try:
        bundle = find_bundle(name, places.paths.models)
    except ModelNotFound:
        say(f"model {name} is not in {places.paths.models}; converting it")
    else:
        say(f"model {name}: {bundle.path}")
        return
    if importlib.util.find_spec(CONVERTER) is None:
        raise SetupError(
            f"model {name} has to be converted, and {CONVERTER} is missing: install parakeetd whole"
        )
    words = [sys.executable, "-m", CONVERTER, name, "--models", str(places.paths.models)]
    if any(importlib.util.find_spec(library) is None for library in TOOLCHAIN):
        words.append("--isolated")
    _run_or_fail(words, f"model {name} was not converted; the reason is above", show=True)
    say(f"model {name}: {find_bundle(name, places.paths.models).path}")


def _have_times(model: str, seconds: int, places: Places, say: Say) -> None:
    table = table_file(places.paths.calibration, model)
    if table.is_file():
        say(f"measured before: {table}")
        return
    say(f"measuring {model} on this machine, about {seconds} s")
    words = [sys.executable, "-m", "parakeetd.cli", "calibrate", "--model", model, "--seconds", str(seconds)]
    environment = {**os.environ, **places.environment}
    # A service without a table works: it predicts by defaults, or measures by itself.
    try:
        done = subprocess.run(
            words,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_MEASURING * seconds + _LOADING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"not measured: it takes too long; at a quiet time: parakeetd calibrate --model {model}")
        return
    last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
    say(f"not measured: {last[0]}" if done.returncode else f"measured: {table}")


def _have_settings(model: str, places: Places, say: Say) -> bool:
    """Have the configuration name the model; True when that changed it."""
    file = places.paths.config_file
    old = read_if_there(file)
    text = _NEW_CONFIG if old is None else old
    try:
        text = with_setting(text, "model", "name", model)
        if places.system and old is None:
            text = with_setting(text, "server", "socket_group", CLIENTS)
    except ConfigError as error:
        raise ConfigError(f"configuration {file}: {error}") from error
    changed = write_if_changed(file, text)
    try:
        read_config(file, places.paths)
    except ConfigError:
        # What the service ran with until now, it still can.
        if old is None:
            remove(file)
        else:
            write_if_changed(file, old)
        raise
    say(f"{'wrote' if changed else 'unchanged:'} {file}")
    return changed


def _have_group(say: Say) -> None:
    if _group_exists():
        return
    _run_or_fail(["groupadd", "--system", CLIENTS], f"the group {CLIENTS} cannot be made")
    say(f"made the group {CLIENTS}")


def _group_exists() -> bool:
    try:
        grp.getgrnam(CLIENTS)
    except KeyError:
        return False
    return True


def _run_or_fail(words: list[str], failure: str, *, show: bool = False) -> None:
    if shutil.which(words[0]) is None:
        raise SetupError(f"{failure}: {words[0]} is missing")
    done = subprocess.run(words, capture_output=not show, text=True, check=False)
    if done.returncode:
        said = "" if show else f": {' '.join(done.stderr.split())}"
        raise SetupError(f"{failure}{said}")


def _next(places: Places) -> list[str]:
    """What a person may want to do now."""
    if places.system:
        steps = {
            f"parakeetd status --socket unix:{places.paths.socket}": "what it does",
            f"usermod -aG {CLIENTS} USER": "let a user open that socket; TCP is 127.0.0.1:50051, for all here",
            "journalctl -fu parakeetd": "what it says",
            "systemctl reload parakeetd": f"after a change of {places.paths.config_file}",
        }
    else:
        steps = {
            "parakeetd status": "what it does",
            "loginctl enable-linger": "have it run without a login, from the machine's start",
            "journalctl --user -fu parakeetd": "what it says",
            "systemctl --user reload parakeetd": f"after a change of {places.paths.config_file}",
        }
    width = max(map(len, steps))
    return ["next:", *(f"  {command:{width}}  {what}" for command, what in steps.items())]
