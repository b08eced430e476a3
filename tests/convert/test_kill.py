"""A conversion that is killed, whenever that is, leaves what was there whole and the next run nothing to trip over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from parakeetd.model.bundle import Bundle, find_bundle

# One process imports NeMo; each of its children converts anew and is killed at the end of one more step, the first
# one while what it has unpacked lies on the disk.
KILLED_AT_EVERY_STEP = """
import contextlib, json, os, signal, sys, tempfile
from pathlib import Path
from parakeetd_convert import nemo, pipeline
from parakeetd_convert.toolchain import load_toolchain

file, models = Path(sys.argv[1]), Path(sys.argv[2])
load_toolchain()
import torch
torch.set_num_threads(1)
# The order of the steps is what counts here, not how much audio there is in one.
whole = pipeline.verification_batches
pipeline.verification_batches = lambda rate: whole(rate)[:3]

def look():
    return sorted(path.name for path in models.iterdir())

def convert(last):
    seen = 0

    @contextlib.contextmanager
    def step(title):
        nonlocal seen
        yield
        seen += 1
        if seen == last:
            print(json.dumps({"title": title}), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    pipeline.convert(pipeline.Job(file, "m", models, ("en",), force=True), step)

def restore(*arguments):
    print(json.dumps({"title": "in the middle of restoring"}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

for last in range(100):
    if (child := os.fork()) == 0:
        if last == 0:
            nemo._restore = restore
        convert(last)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = {"last": last, "killed": os.WIFSIGNALED(status), "models": look()}
    found["temporary"] = os.listdir(tempfile.gettempdir())
    found["manifest"] = (models / "m" / "manifest.json").read_text()
    print(json.dumps(found), flush=True)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_conversion_killed_after_any_step_leaves_the_old_bundle_whole_and_the_next_run_clean(
    bundle: Bundle, plain_nemo: Path, tmp_path: Path
) -> None:
    models, temporary = tmp_path / "models", tmp_path / "temporary"
    temporary.mkdir()
    shutil.copytree(bundle.path, models / "m")
    before = (models / "m" / "manifest.json").read_text()
    done = run(KILLED_AT_EVERY_STEP, plain_nemo, models, TMPDIR=temporary)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    titles = [row["title"] for row in rows if "title" in row]
    *killed, finished = [row for row in rows if "last" in row]
    assert len(titles) == len(killed) > 8
    assert titles[-1] == "Publishing"
    for row in killed[:-1]:
        assert row["manifest"] == before
    # Killed after publishing, the new one is there.
    assert killed[-1]["manifest"] != before
    for row in killed:
        leftovers = [name for name in row["models"] if name != "m"]
        # The run that follows removed those of the one before.
        assert len(leftovers) <= 1
        assert row["temporary"] == []
    assert finished["models"] == ["m"]
    made = find_bundle("m", models)
    made.checked(name for name in made.manifest.files if not name.endswith(".data"))
    assert made.manifest.source.file == plain_nemo.name


CONVERT = """
import sys
from parakeetd_convert import pipeline
whole = pipeline.verification_batches
pipeline.verification_batches = lambda rate: whole(rate)[:3]
from parakeetd_convert.cli import main
main()
"""


def test_two_conversions_that_replace_one_bundle_at_once_do_not_harm_each_other(
    plain_nemo: Path, tmp_path: Path
) -> None:
    words = [str(plain_nemo), "--name", "m", "--models", str(tmp_path), "--language", "en", "--force"]
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CONVERT, *words],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], said
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    made = find_bundle("m", tmp_path)
    made.checked(name for name in made.manifest.files if not name.endswith(".data"))


def run(script: str, *arguments: Path, **variables: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        env=environment() | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        check=False,
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
