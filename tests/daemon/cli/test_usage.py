"""Help, wrong usage, --debug, closed pipes and what nobody expected: what all commands share."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from clips import Clip
from commands import PARAKEETD, Command, run
from parakeetd import __version__
from parakeetd.cli import COMMANDS, transcribe


def test_help_names_every_command_and_is_what_one_gets_without_any(parakeetd: Command) -> None:
    told = parakeetd("--help")
    assert told.code == 0
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", told.out, re.MULTILINE)
    assert parakeetd() == told


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_shows_how_it_is_used(parakeetd: Command, name: str) -> None:
    told = parakeetd(name, "--help")
    assert told.code == 0
    assert f"Usage: parakeetd {name} " in told.out
    assert "Examples:" in told.out
    assert f"\n    parakeetd {name}" in told.out


def test_help_loads_no_runtime(env: dict[str, str]) -> None:
    code = (
        "import sys\nfrom parakeetd.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'onnxruntime', 'grpc', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([PARAKEETD[0], "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_version_is_told(parakeetd: Command) -> None:
    assert parakeetd("--version").out == f"parakeetd, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["transscribe"], "'transscribe'"),
        (["--loud"], "--loud"),
        (["transcribe"], "FILE"),
        (["transcribe", "--fromat", "srt", "x.wav"], "--fromat"),
        (["transcribe", "--format", "doc", "x.wav"], "'doc' is not one of 'text', 'json', 'srt', 'vtt'"),
        (["transcribe", "--vad", "loud", "x.wav"], "'loud' is not one of 'webrtc', 'off'"),
        (["transcribe", "--confirm", "maybe", "x.wav"], "'maybe' is not one of 'silero', 'off'"),
        (["transcribe", "--device", "gpu", "x.wav"], "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["serve", "now"], "now"),
        (["serve", "--listen"], "--listen"),
        (["models", "demo"], "demo"),
    ],
)
def test_wrong_usage_is_one_line_that_names_it(parakeetd: Command, arguments: list[str], named: str) -> None:
    outcome = parakeetd(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.error.startswith("parakeetd: ")
    assert named in outcome.error
    assert "--help)" in outcome.error


@pytest.mark.parametrize("at", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(env: dict[str, str], at: int) -> None:
    arguments = ["transcribe", "--model", "nope", "x.wav"]
    plain = run(*arguments, env=env)
    assert "Traceback" not in plain.err
    assert "nope" in plain.error
    detailed = run(*arguments[:at], "--debug", *arguments[at:], env=env)
    assert "Traceback (most recent call last)" in detailed.err
    assert detailed.err.splitlines()[-1] == plain.error
    assert detailed.code == plain.code == 2


def test_debug_shows_the_traceback_of_each_file_that_failed(env: dict[str, str], tmp_path: Path) -> None:
    outcome = run("transcribe", "none.wav", "--debug", env=env, cwd=tmp_path)
    assert outcome.code == 2
    assert "Traceback (most recent call last)" in outcome.err


def test_a_file_called_debug_can_be_given(parakeetd: Command) -> None:
    outcome = parakeetd("transcribe", "--", "--debug")
    assert outcome.code == 2
    assert outcome.error == "parakeetd: --debug: cannot be read: No such file or directory"


def test_what_nobody_expected_is_one_line_too(parakeetd: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **flags: object) -> None:
        raise ZeroDivisionError("seven")

    monkeypatch.setattr(transcribe, "load", broken)
    outcome = parakeetd("transcribe", "x.wav")
    assert outcome.code == 1
    assert "internal error" in outcome.error
    assert "ZeroDivisionError: seven" in outcome.error
    assert "--debug" in outcome.error


@pytest.mark.parametrize("arguments", [["models"], ["transcribe", "CLIP"], ["demo", "--fast", "CLIP"]])
def test_a_reader_that_leaves_is_no_traceback(
    env: dict[str, str], clips: dict[str, Clip], arguments: list[str]
) -> None:
    words = [str(clips["digits"].path) if word == "CLIP" else word for word in arguments]
    with subprocess.Popen(
        [*PARAKEETD, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


@pytest.mark.parametrize("name", ["start", "stop", "toggle", "cancel"])
def test_what_a_key_runs_imports_no_heavy_library(env: dict[str, str], tmp_path: Path, name: str) -> None:
    # It gets as far as calling a daemon, so that nothing it needs later is overlooked.
    code = (
        "import sys\nfrom parakeetd.cli import main\n"
        f"try: main([{name!r}])\n"
        "except SystemExit: pass\n"
        "heavy = ('numpy', 'onnxruntime', 'soundfile', 'webrtcvad', 'rich', 'parakeetd.session', 'parakeetd.config')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [PARAKEETD[0], "-c", code],
        env=env | {"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no daemon listens at" in done.stderr
    assert done.stdout.strip() == "[]"
