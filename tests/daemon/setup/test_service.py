"""An installation and its removal, with a systemd that only writes down what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from parakeetd.config import MOVING, Paths, moving_variables, read_config
from parakeetd.errors import ConfigError, SetupError
from parakeetd.model.bundle import EMBEDDED
from parakeetd.setup import Places, Wishes, install, service, system_places, uninstall, user_places
from parakeetd.setup.files import give_to_owner, remove, write_if_changed
from parakeetd.setup.places import hidden
from systemd_stand_in import Systemd

QUICK = Wishes(model="demo", calibrate=False)
UNIT = "parakeetd.service"


@dataclass
class Told:
    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return user_places(Paths.from_environment({"HOME": str(tmp_path / "home")}), {})


@pytest.fixture
def say() -> Told:
    return Told()


def test_an_installation_writes_enables_and_starts(systemd: Systemd, places: Places, say: Told) -> None:
    install(places, QUICK, say)
    assert systemd.calls == [
        "--user daemon-reload",
        f"--user enable {UNIT}",
        f"--user restart {UNIT}",
    ]
    assert places.unit.read_text().count("ExecStart=") == 1
    assert places.unit.stat().st_mode & 0o777 == 0o644
    assert read_config(None, places.paths).model.name == "demo"
    for line in (f"wrote {places.unit}", f"wrote {places.paths.config_file}", "the service serves demo"):
        assert line in say.lines


def test_a_second_installation_changes_nothing(systemd: Systemd, places: Places, say: Told) -> None:
    install(places, QUICK, Told())
    before, _ = places.unit.stat().st_mtime_ns, systemd.calls
    install(places, QUICK, say)
    assert systemd.calls == []
    assert places.unit.stat().st_mtime_ns == before
    assert f"unchanged: {places.unit}" in say.lines
    assert "the service serves demo, as before" in say.lines


def test_another_model_is_written_into_the_users_configuration_and_served(
    systemd: Systemd, places: Places, say: Told
) -> None:
    install(places, QUICK, Told())
    file = places.paths.config_file
    file.write_text("# mine\n[device]\nthreads = 2 # enough\n\n" + file.read_text())
    shutil.copytree(EMBEDDED, places.paths.models / "other")
    _ = systemd.calls
    install(places, replace(QUICK, model="other"), say)
    assert file.read_text().startswith("# mine\n[device]\nthreads = 2 # enough\n")
    assert read_config(None, places.paths).model.name == "other"
    assert systemd.calls == [f"--user reset-failed {UNIT}", f"--user restart {UNIT}"]


def test_without_a_name_the_configured_model_is_kept(systemd: Systemd, places: Places) -> None:
    shutil.copytree(EMBEDDED, places.paths.models / "one")
    shutil.copytree(EMBEDDED, places.paths.models / "two")
    install(places, replace(QUICK, model="two"), Told())
    install(places, replace(QUICK, model=None), Told())
    assert read_config(None, places.paths).model.name == "two"


def test_the_service_is_told_where_this_shell_has_moved_things(systemd: Systemd, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PARAKEETD_MODELS": f"{tmp_path}/big disk/models", "LANG": "C"}
    moved = moving_variables(env)
    assert set(moved) <= set(MOVING)
    there = user_places(Paths.from_environment(env), moved)
    install(there, QUICK, Told())
    assert f'Environment="PARAKEETD_MODELS={tmp_path}/big disk/models"' in there.unit.read_text()
    assert "LANG" not in there.unit.read_text()


def test_a_service_that_does_not_become_ready_is_shown_with_its_last_words(
    systemd: Systemd, places: Places, say: Told
) -> None:
    systemd.have(fails=("restart",))
    with pytest.raises(
        SetupError, match=r"did not become ready .*systemctl --user status parakeetd"
    ) as caught:
        install(places, QUICK, say)
    assert "\n" not in str(caught.value)
    assert "  cannot listen on 127.0.0.1:50051: it is in use" in say.lines


def test_a_machine_without_systemd_is_told_what_to_do(
    systemd: Systemd, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match=r"not run by systemd.*parakeetd serve"):
        install(places, QUICK, Told())
    assert not places.unit.exists()


def test_a_user_without_a_manager_is_told_what_to_do(systemd: Systemd, places: Places) -> None:
    systemd.have(absent=True)
    with pytest.raises(SetupError, match=r"No medium found.*loginctl enable-linger"):
        install(places, QUICK, Told())
    assert not places.unit.exists()
    assert not places.paths.config_file.exists()


def converter(monkeypatch: pytest.MonkeyPatch, code: int) -> list[list[str]]:
    """Stands in for parakeetd-convert, and for what it needs: the words that it is run with."""
    run, ran = subprocess.run, []

    def instead(words: list[str], **settings: Any) -> subprocess.CompletedProcess[Any]:
        if "parakeetd_convert" not in words:
            return run(words, **settings)
        ran.append(words)
        if code == 0:
            shutil.copytree(EMBEDDED, Path(words[words.index("--models") + 1]) / words[3])
        return subprocess.CompletedProcess(words, code)

    monkeypatch.setattr(subprocess, "run", instead)
    return ran


def test_a_model_that_is_not_there_is_converted_first(
    systemd: Systemd, places: Places, say: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = converter(monkeypatch, 0)
    monkeypatch.setattr(service, "TOOLCHAIN", ("json",))
    install(places, replace(QUICK, model="0.6b-v3"), say)
    wanted = [sys.executable, "-m", "parakeetd_convert", "0.6b-v3", "--models", str(places.paths.models)]
    assert ran == [wanted]
    assert read_config(None, places.paths).model.name == "0.6b-v3"
    install(places, replace(QUICK, model="0.6b-v3"), say)
    assert ran == [wanted]


def test_without_the_conversions_libraries_it_brings_its_own(
    systemd: Systemd, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = converter(monkeypatch, 0)
    monkeypatch.setattr(service, "TOOLCHAIN", ("json", "a_library_that_is_not_here"))
    install(places, replace(QUICK, model="0.6b-v3"), Told())
    assert ran[0][-1] == "--isolated"


def test_a_conversion_that_fails_ends_the_installation_before_anything_is_written(
    systemd: Systemd, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    converter(monkeypatch, 1)
    with pytest.raises(SetupError, match=r"model 0\.6b-v3 was not converted"):
        install(places, replace(QUICK, model="0.6b-v3"), Told())
    assert systemd.calls == []
    assert not places.unit.exists()


def test_the_devices_are_measured_once(systemd: Systemd, places: Places, say: Told, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home")}
    there = replace(places, environment=env)
    wishes = replace(QUICK, calibrate=True, seconds=1)
    install(there, wishes, say)
    table = places.paths.calibration / "demo.json"
    assert table.is_file()
    assert f"measured: {table}" in say.lines
    again = Told()
    install(there, wishes, again)
    assert f"measured before: {table}" in again.lines


def test_what_cannot_be_measured_is_said_and_no_obstacle(
    systemd: Systemd, places: Places, say: Told, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("no folder")
    there = replace(places, environment={"HOME": str(tmp_path / "home")})
    service._have_times("demo", 1, there, say)
    assert say.lines[-1].startswith("not measured: ")


def test_a_configuration_that_is_wrong_stays_as_it_was(systemd: Systemd, places: Places) -> None:
    file = places.paths.config_file
    file.parent.mkdir(parents=True)
    file.write_text("[model]\nname = 3\n")
    with pytest.raises(ConfigError, match=r"model\.name"):
        install(places, QUICK, Told())
    assert file.read_text() == "[model]\nname = 3\n"


def test_a_removal_keeps_what_took_long_to_make(systemd: Systemd, places: Places, say: Told) -> None:
    install(places, QUICK, Told())
    shutil.copytree(EMBEDDED, places.paths.models / "mine")
    _ = systemd.calls
    uninstall(places, say, purge=False)
    assert systemd.calls[:3] == [f"--user stop {UNIT}", f"--user disable {UNIT}", "--user daemon-reload"]
    assert not places.unit.exists()
    assert (places.paths.models / "mine/manifest.json").exists()
    assert places.paths.config_file.exists()
    assert f"removed {places.unit}" in say.lines
    assert "--purge" in say.lines[-1]


def test_a_purge_takes_everything_that_is_the_services_alone(
    systemd: Systemd, places: Places, tmp_path: Path
) -> None:
    shared = tmp_path / "shared models"
    moved = replace(places, paths=replace(places.paths, models=shared))
    shutil.copytree(EMBEDDED, shared / "mine")
    install(moved, QUICK, Told())
    uninstall(moved, Told(), purge=True)
    assert not places.paths.config_file.parent.exists()
    assert (shared / "mine").exists()


def test_removing_what_is_not_there_is_no_error(systemd: Systemd, places: Places, say: Told) -> None:
    uninstall(places, say, purge=True)
    assert say.lines == [f"not there: {places.unit}"]


def test_the_system_service_must_see_what_it_runs(tmp_path: Path) -> None:
    assert hidden([Path("/usr/bin/python3"), Path("/opt/parakeetd/bin/python")]) is None
    assert hidden([Path("/home/me/venv/bin/python")]) == Path("/home/me/venv/bin/python")
    link = tmp_path / "python"
    link.symlink_to("/root/.pyenv/bin/python")
    assert hidden([link]) is not None


def test_the_system_services_places_are_the_machines() -> None:
    places = system_places()
    assert places.unit == Path("/etc/systemd/system/parakeetd.service")
    assert places.paths.config_file == Path("/etc/parakeetd/config.toml")
    assert places.paths.models == Path("/var/lib/parakeetd/models")
    assert places.paths.calibration == Path("/var/lib/parakeetd/calibration")
    assert places.paths.socket == Path("/run/parakeetd/parakeetd.sock")
    assert places.folders == (Path("/etc/parakeetd"), Path("/var/lib/parakeetd"))


def test_a_file_that_cannot_be_replaced_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "unit"
    file.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupError, match="No space left"):
        write_if_changed(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_linked_configuration_stays_linked(tmp_path: Path) -> None:
    target, link = tmp_path / "dotfiles.toml", tmp_path / "config.toml"
    target.write_text("old")
    link.symlink_to(target)
    assert write_if_changed(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_the_state_folder_that_systemd_links_to_is_removed_with_its_target(tmp_path: Path) -> None:
    target, link = tmp_path / "private", tmp_path / "public"
    (target / "models").mkdir(parents=True)
    link.symlink_to(target)
    assert remove(link)
    assert list(tmp_path.iterdir()) == []
    assert not remove(link)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_writes_into_a_services_folder_is_the_services(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    (folder / "models/new").mkdir(parents=True)
    os.chown(folder, 12345, 12345)
    give_to_owner(folder)
    assert {path.stat().st_uid for path in (folder, *folder.rglob("*"))} == {12345}
    give_to_owner(tmp_path / "not there")


@pytest.mark.parametrize("old", [None, "# mine\n"])
def test_a_configuration_that_could_not_be_read_afterwards_is_taken_back(
    places: Places, monkeypatch: pytest.MonkeyPatch, old: str | None
) -> None:
    file = places.paths.config_file
    if old is not None:
        write_if_changed(file, old)

    def refuse(*_: object) -> None:
        raise ConfigError("unknown key")

    monkeypatch.setattr(service, "read_config", refuse)
    with pytest.raises(ConfigError, match="unknown key"):
        service._have_settings("demo", places, Told())
    assert (file.read_text() if file.exists() else None) == old
