"""The command: what it prints, where, and with which exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parakeetd.model.bundle import Bundle, Precision
from parakeetd_convert import cli
from parakeetd_convert.catalog import Entry, by_name
from parakeetd_convert.download import DownloadError
from parakeetd_convert.made import already_made

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["parakeetd-convert", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_help_and_list_load_none_of_the_toolchain() -> None:
    for argument in ("--help", "list"):
        script = (
            "import sys; from parakeetd_convert.cli import main\n"
            f"sys.argv = ['parakeetd-convert', {argument!r}]\n"
            "try: main()\n"
            "except SystemExit as stop: assert not stop.code\n"
            "print(sorted({'torch', 'nemo', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo"], "ships in the package"),
        (["7b"], "'7b' is neither a .nemo file nor a name of the catalog (0.6b-v3, "),
        (["none.nemo"], "none.nemo: there is no such file"),
        (["broken.nemo"], "broken.nemo: is not a .nemo file"),
        (["broken.nemo", "--name", "../up"], "--name '../up'"),
        (["broken.nemo", "--name", "list"], "--name 'list'"),
        (["0.6b-v3", "--name", "all"], "--name 'all'"),
        (["all", "--name", "mine"], "all models of the catalog have their own"),
        ([], "Missing argument"),
        (["list", "--colour"], "--colour"),
    ],
)
def test_wrong_input_is_one_line_on_stderr_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARAKEETD_MODELS", str(tmp_path / "models"))
    Path("broken.nemo").write_text("not an archive")
    assert run(monkeypatch, *arguments, "--language", "en-US") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("parakeetd-convert: ")
    assert said in line
    assert not (tmp_path / "models").exists()


def test_a_model_of_the_catalog_is_fetched_after_the_preflight_and_then_converted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    order: list[str] = []
    entry = by_name("110m")
    assert entry is not None

    def looked(weights: int, precisions: object, models: Path) -> None:
        order.append(f"preflight {weights}")

    def fetched(wanted: Entry) -> Path:
        order.append(f"fetch {wanted.name}")
        raise DownloadError(wanted, "no connection to the hub: refused")

    monkeypatch.setattr(cli, "check_conversion", looked)
    monkeypatch.setattr(cli, "fetch", fetched)
    assert run(monkeypatch, "110m", "--models", "models") == 1
    assert order == [f"preflight {entry.download}000000", "fetch 110m"]
    [line] = capsys.readouterr().err.splitlines()
    assert f"fetch {entry.url} elsewhere and run: " in line
    assert line.endswith("parakeetd-convert parakeet-tdt_ctc-110m.nemo --name 110m")
    assert run(monkeypatch, "110m", "--models", "models", "--skip-preflight") == 1
    assert order[2:] == ["fetch 110m"]


def test_a_file_of_the_catalog_in_the_current_folder_is_not_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("parakeet-tdt_ctc-110m.nemo").write_text("not an archive")
    assert run(monkeypatch, "110m", "--models", "models") == 2
    assert "parakeet-tdt_ctc-110m.nemo: is not a .nemo file" in capsys.readouterr().err


def test_all_converts_each_model_in_a_process_of_its_own_and_names_those_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    commands: list[list[str]] = []

    def ran(words: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(words[3:])
        return subprocess.CompletedProcess(words, returncode=int(words[3] in ("1.1b", "110m")))

    monkeypatch.setattr(subprocess, "run", ran)
    arguments = ["--models", str(tmp_path), "--precision", "fp32", "--language", "en", "--sherpa", "--force"]
    assert run(monkeypatch, "all", *arguments, "--verify-audio", "clips", "--skip-preflight") == 1
    assert [words[0] for words in commands] == ["0.6b-v3", "0.6b-v2", "1.1b", "tdt-1.1b", "110m"]
    assert sorted(commands[0][1:]) == sorted([*arguments, "--verify-audio", "clips", "--skip-preflight"])
    assert capsys.readouterr().err.splitlines()[-1] == (
        "parakeetd-convert: not converted: 1.1b, 110m; each has its reason above"
    )


def test_what_is_already_made_is_told_at_once_without_the_toolchain(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The catalog's name alone is enough: the file need not be there, nor the network.
    models = Path(shutil.copytree(bundle.path.parent, tmp_path / "models"))
    script = (
        "import sys; from parakeetd_convert.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(sorted({'torch', 'nemo', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(DEMO), "--models", str(models)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout == "[]\n"
    assert done.stderr == (f"{models}/demo was already made from this file; --force makes it again\n")


@pytest.mark.parametrize(
    ("source", "precisions", "sherpa", "made"),
    [
        (DEMO, ("fp32",), False, True),
        ("demo.nemo", ("fp32",), False, True),
        ("other.nemo", ("fp32",), False, False),
        (Path(__file__), ("fp32",), False, False),
        (DEMO, ("fp32",), True, False),
    ],
)
def test_a_bundle_counts_as_made_when_all_that_is_wanted_is_in_it(
    bundle: Bundle, source: Path | str, precisions: tuple[Precision, ...], sherpa: bool, made: bool
) -> None:
    assert already_made(bundle.path, source, precisions, sherpa=sherpa) == made
    assert not already_made(bundle.path.parent / "none", source, precisions)


def test_without_the_toolchain_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(monkeypatch, str(DEMO), "--models", str(tmp_path)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "torch cannot be found" in line
    assert "pip install 'parakeetd[convert]'" in line


def test_a_damaged_library_of_the_toolchain_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run(monkeypatch, str(DEMO), "--models", str(tmp_path)) == 1
    assert "onnx cannot be found" in capsys.readouterr().err


def test_a_traceback_is_shown_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(environment: object) -> Path:
        raise LookupError("a fault\nof ours")

    monkeypatch.setattr(cli, "default_models", broken)
    assert run(monkeypatch, str(DEMO)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert (
        line == "parakeetd-convert: unexpected LookupError: a fault; run again with --debug and report this"
    )
    monkeypatch.setattr(sys, "argv", ["parakeetd-convert", str(DEMO), "--debug"])
    with pytest.raises(LookupError):
        cli.main()


def test_an_interrupt_says_that_nothing_was_published(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(environment: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "default_models", interrupted)
    assert run(monkeypatch, str(DEMO)) == 130
    assert capsys.readouterr().err.strip() == "parakeetd-convert: interrupted; nothing was published"


def test_a_file_is_converted_under_the_catalogs_name_with_its_languages_and_licence(
    torch: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, str(DEMO), "--models", str(tmp_path)) == 0
    printed = capsys.readouterr()
    assert "Verifying the graphs against NeMo" in printed.err
    assert str(tmp_path / "demo") in printed.err.replace("\n", "")
    manifest = Bundle.read(tmp_path / "demo").manifest
    assert (manifest.name, manifest.languages, manifest.source.licence) == (
        "demo",
        ("en-US",),
        "CC-BY-SA-4.0",
    )

    # Again: there is nothing to do, and nothing is loaded for it.
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(monkeypatch, str(DEMO), "--models", str(tmp_path)) == 0
    assert "was already made from this file" in capsys.readouterr().err


def test_a_bundle_of_another_file_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "demo").mkdir()
    assert run(monkeypatch, str(DEMO), "--models", str(tmp_path)) == 2
    assert f"{tmp_path / 'demo'} exists; replace it with --force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PARAKEETD_MODELS": "/m", "XDG_DATA_HOME": "/x"}, "/m"),
        ({"XDG_DATA_HOME": "/x"}, "/x/parakeetd/models"),
        ({"XDG_DATA_HOME": ""}, "~/.local/share/parakeetd/models"),
        ({}, "~/.local/share/parakeetd/models"),
    ],
)
def test_the_folder_of_models_comes_from_the_environment(environment: dict[str, str], expected: str) -> None:
    assert cli.default_models(environment) == Path(expected).expanduser()
