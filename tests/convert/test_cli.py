"""The command: what it prints, where, and with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parakeetd.model.bundle import Bundle
from parakeetd_convert import cli

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["parakeetd-convert", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_list_prints_the_catalog_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "0.6b-v3",
        "0.6b-v2",
        "1.1b",
        "tdt-1.1b",
        "110m",
        "demo",
    ]
    assert "nvidia/parakeet-tdt-0.6b-v3" in lines[1]


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
        (
            ["0.6b-v3"],
            "fetch https://huggingface.co/nvidia/parakeet-tdt-0.6b-v3/resolve/main/parakeet-tdt-0.6b-v3.nemo",
        ),
        (["0.6b-v3"], "run: parakeetd-convert parakeet-tdt-0.6b-v3.nemo --name 0.6b-v3"),
        (["demo"], "ships in the package"),
        (["7b"], "'7b' is neither a .nemo file nor a name of the catalog (0.6b-v3, "),
        (["none.nemo"], "none.nemo: there is no such file"),
        (["broken.nemo"], "broken.nemo: is not a .nemo file"),
        (["broken.nemo", "--name", "../up"], "--name '../up'"),
        (["broken.nemo", "--name", "list"], "--name 'list'"),
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


def test_without_the_toolchain_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(monkeypatch, str(DEMO), "--models", str(tmp_path)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "torch cannot be loaded" in line
    assert "pip install 'parakeetd[convert]'" in line


def test_a_damaged_library_of_the_toolchain_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run(monkeypatch, str(DEMO), "--models", str(tmp_path)) == 1
    assert "onnx cannot be loaded" in capsys.readouterr().err


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
