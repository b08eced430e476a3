"""A bundle appears whole or not at all, and an older one stays until the new one is there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parakeetd_convert import publish as publishing
from parakeetd_convert.errors import BundleExists, PublishError
from parakeetd_convert.publish import publish, staging


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, content: str) -> None:
    (folder / "weights").write_text(content)


def content(bundle: Path) -> str:
    return (bundle / "weights").read_text()


def put(models: Path, text: str, *, force: bool = False) -> None:
    with staging(models, "m") as folder:
        write(folder, text)
        publish(folder, models / "m", force=force)


def test_a_first_bundle_is_published_and_nothing_else_is_left(tmp_path: Path) -> None:
    models = tmp_path / "not" / "there yet"
    put(models, "new")
    assert names(models) == ["m"]
    assert content(models / "m") == "new"


def test_a_published_bundle_has_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        put(tmp_path, "new")
    finally:
        os.umask(before)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o755


def test_an_existing_bundle_is_replaced_only_with_force(tmp_path: Path) -> None:
    put(tmp_path, "old")
    with pytest.raises(BundleExists, match="--force"):
        put(tmp_path, "new")
    assert content(tmp_path / "m") == "old"
    put(tmp_path, "new", force=True)
    assert content(tmp_path / "m") == "new"
    assert names(tmp_path) == ["m"]


def test_a_bundle_is_replaced_where_the_file_system_cannot_exchange_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "old")
    monkeypatch.setattr(publishing, "_exchange", lambda one, other: False)
    put(tmp_path, "new", force=True)
    assert content(tmp_path / "m") == "new"
    assert names(tmp_path) == ["m"]


def test_the_old_bundle_comes_back_when_the_second_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "old")
    monkeypatch.setattr(publishing, "_exchange", lambda one, other: False)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PublishError, match="No space left on device"):
        put(tmp_path, "new", force=True)
    assert content(tmp_path / "m") == "old"
    assert names(tmp_path) == ["m"]


def fail(models: Path) -> None:
    with staging(models, "m") as folder:
        write(folder, "new")
        raise PublishError("on purpose")


def test_a_failed_build_leaves_nothing_and_keeps_the_old_bundle(tmp_path: Path) -> None:
    put(tmp_path, "old")
    with pytest.raises(PublishError, match="on purpose"):
        fail(tmp_path)
    assert names(tmp_path) == ["m"]
    assert content(tmp_path / "m") == "old"


KILLED_BEFORE_THE_RENAME = """
import os, signal, sys
from pathlib import Path
from parakeetd_convert import publish as p
p._exchange = lambda one, other: os.kill(os.getpid(), signal.SIGKILL)
models = Path(sys.argv[1])
with p.staging(models, "m") as folder:
    (folder / "weights").write_text("new")
    p.publish(folder, models / "m", force=True)
"""

KILLED_BETWEEN_TWO_RENAMES = """
import os, signal, sys
from pathlib import Path
from parakeetd_convert import publish as p
p._exchange = lambda one, other: False
rename = Path.rename
def dying(self, target):
    if ".partial-" in self.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = dying
models = Path(sys.argv[1])
with p.staging(models, "m") as folder:
    (folder / "weights").write_text("new")
    p.publish(folder, models / "m", force=True)
"""


MANY_REPLACEMENTS = """
import sys
from pathlib import Path
from parakeetd_convert import publish as p
models = Path(sys.argv[1])
for number in range(100):
    with p.staging(models, "m") as folder:
        (folder / "weights").write_text(f"{sys.argv[2]}{number}")
        p.publish(folder, models / "m", force=True)
"""


def run_until_killed(script: str, models: Path) -> None:
    done = subprocess.run([sys.executable, "-c", script, str(models)], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_run_killed_before_the_rename_leaves_the_old_bundle_whole_and_the_next_run_clean(
    tmp_path: Path,
) -> None:
    put(tmp_path, "old")
    run_until_killed(KILLED_BEFORE_THE_RENAME, tmp_path)
    assert content(tmp_path / "m") == "old"
    assert len(names(tmp_path)) == 2
    put(tmp_path, "newer", force=True)
    assert content(tmp_path / "m") == "newer"
    assert names(tmp_path) == ["m"]


def test_a_bundle_that_a_killed_run_set_aside_comes_back_at_the_next_start(tmp_path: Path) -> None:
    put(tmp_path, "old")
    run_until_killed(KILLED_BETWEEN_TWO_RENAMES, tmp_path)
    assert "m" not in names(tmp_path)
    with staging(tmp_path, "m"):
        assert content(tmp_path / "m") == "old"
    assert names(tmp_path) == ["m"]


def test_a_second_run_leaves_the_folder_of_a_living_one_alone(tmp_path: Path) -> None:
    with staging(tmp_path, "m") as first:
        write(first, "first")
        put(tmp_path, "second")
        assert content(first) == "first"
        with pytest.raises(BundleExists):
            publish(first, tmp_path / "m", force=False)
    assert content(tmp_path / "m") == "second"


def test_two_runs_that_replace_the_same_bundle_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    put(tmp_path, "old")
    runs = [
        subprocess.Popen([sys.executable, "-c", MANY_REPLACEMENTS, str(tmp_path), letter], env=environment())
        for letter in "ab"
    ]
    seen = set()
    while any(run.poll() is None for run in runs):
        with contextlib.suppress(FileNotFoundError):
            seen.add(content(tmp_path / "m"))
    assert [run.returncode for run in runs] == [0, 0]
    assert seen <= {"old", *(f"{letter}{number}" for letter in "ab" for number in range(100))}
    assert content(tmp_path / "m") in {"a99", "b99"}
    assert names(tmp_path) == ["m"]


@pytest.mark.parametrize(
    "exchange", ["", "p._exchange = lambda one, other: False\n"], ids=["swap", "two steps"]
)
def test_a_run_is_not_disturbed_by_others_that_look_for_leftovers(tmp_path: Path, exchange: str) -> None:
    put(tmp_path, "old")
    script = MANY_REPLACEMENTS.replace("models =", f"{exchange}models =", 1)
    runs = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), letter], env=environment())
        for letter in "abc"
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert content(tmp_path / "m")[1:] == "99"
    assert names(tmp_path) == ["m"]


def test_the_leftovers_of_another_name_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".other.partial-12345678").mkdir()
    put(tmp_path, "new")
    assert names(tmp_path) == [".other.partial-12345678", "m"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError, match=f"{tmp_path}/file/models cannot be written"):
        put(tmp_path / "file" / "models", "new")
