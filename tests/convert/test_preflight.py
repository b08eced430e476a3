"""What stands in the way of a conversion is found before it begins, with its cause and what mends it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from parakeetd_convert import preflight
from parakeetd_convert.preflight import (
    PreflightFailed,
    available_memory,
    check_conversion,
    check_isolated,
    disk_findings,
    disk_needed,
    library_findings,
    memory_findings,
    memory_needed,
    python_findings,
)

GB = 1_000_000_000


def write_package(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        (folder / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)


@pytest.fixture
def libraries(tmp_path: Path) -> Callable[[], list[str]]:
    """Stands-ins for every library in a folder of their own; answers the findings of a new process there."""
    folder = tmp_path / "site"
    for name in ("torch", "nemo", "jiwer", "onnxscript", "onnxruntime"):
        write_package(folder / name, __init__="")
    write_package(folder / "onnx", __init__="", onnx_cpp2py_export="")

    def look() -> list[str]:
        script = (
            f"import sys; sys.path.insert(0, {str(folder)!r})\n"
            "from parakeetd_convert.preflight import library_findings\n"
            "for finding in library_findings(): print(finding)"
        )
        # -I and -S: without what is installed, so that what a test removes is really gone.
        path = [
            str(Path(spec.origin).parents[1])
            for spec in map(importlib.util.find_spec, OURS)
            if spec and spec.origin
        ]
        script = f"import sys; sys.path[:0] = {path!r}\n{script}"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return look


OURS = ("parakeetd", "parakeetd_convert")


class TestLibraries:
    def test_whole_libraries_are_no_finding(self, libraries: Callable[[], list[str]]) -> None:
        assert libraries() == []

    @pytest.mark.parametrize(
        ("module", "package"),
        [
            ("torch", "torch"),
            ("nemo", "nemo_toolkit"),
            ("jiwer", "jiwer"),
            ("onnx", "onnx"),
            ("onnxscript", "onnxscript"),
            ("onnxruntime", "onnxruntime-gpu"),
        ],
    )
    def test_a_missing_library_is_named_with_the_extra(
        self, libraries: Callable[[], list[str]], tmp_path: Path, module: str, package: str
    ) -> None:
        shutil.rmtree(tmp_path / "site" / module)
        [line] = libraries()
        assert line.startswith(f"{package} cannot be found; ")
        assert "pip install 'parakeetd[convert]', or give --isolated" in line

    def test_a_broken_compiled_part_of_onnx_is_named_with_its_repair(
        self, libraries: Callable[[], list[str]], tmp_path: Path
    ) -> None:
        (tmp_path / "site" / "onnx" / "onnx_cpp2py_export.py").unlink()
        (tmp_path / "site" / "onnx" / "onnx_cpp2py_export.so").write_bytes(b"\x7fELF not a library")
        (tmp_path / "site" / "onnx" / "onnx_cpp2py_export.abi3.so").write_bytes(b"\x7fELF not a library")
        [line] = libraries()
        assert line.startswith("onnx.onnx_cpp2py_export cannot be loaded by CPython")
        assert "onnx_cpp2py_export.abi3.so" in line
        assert line.endswith("-m pip install --force-reinstall --no-deps onnx")

    @pytest.mark.parametrize("fault", ["ImportError('old onnx')", "AttributeError('x')", "TypeError('x')"])
    def test_an_onnxscript_that_does_not_fit_is_named_whatever_it_raises(
        self, libraries: Callable[[], list[str]], tmp_path: Path, fault: str
    ) -> None:
        write_package(tmp_path / "site" / "onnxscript", __init__=f"raise {fault}")
        [line] = libraries()
        assert line.startswith("onnxscript cannot be loaded by CPython")
        assert line.endswith("--no-deps onnxscript")

    def test_the_libraries_that_these_tests_run_with_are_whole(self) -> None:
        assert list(library_findings()) == []


@pytest.mark.parametrize(
    ("version", "fits"),
    [((3, 10), False), ((3, 11), True), ((3, 12), True), ((3, 13), True), ((3, 14), False), ((4, 0), False)],
)
def test_a_python_that_nemo_does_not_run_on_is_named(version: tuple[int, int], fits: bool) -> None:
    found = [str(finding) for finding in python_findings(version)]
    if fits:
        assert found == []
    else:
        assert found[0].startswith(f"this is Python {version[0]}.{version[1]}; NeMo")
        assert "3.11 to 3.13" in found[0]
        assert "python3.13 -m venv" in found[0]


@pytest.mark.parametrize(("weights", "peak"), [(0.459, 2.14), (2.45, 7.45), (4.28, 12.58)])
def test_the_memory_asked_for_is_what_conversions_were_measured_to_take(weights: float, peak: float) -> None:
    assert peak <= memory_needed(round(weights * 1e9)) / 1e9 <= 1.05 * peak


def test_too_little_memory_is_told_with_both_figures() -> None:
    weights = 2_500_000_000
    assert list(memory_findings(weights, memory_needed(weights))) == []
    [finding] = memory_findings(weights, memory_needed(weights) - 1)
    assert finding.cause == "about 7.8 GB of memory are needed, 7.8 GB are available"
    assert "add swap" in finding.remedy


def test_too_little_disk_is_told_with_the_folder(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    folder = tmp_path / "not" / "there"
    assert list(disk_findings(GB // 1000, folder, "mend it")) == []
    [finding] = disk_findings(free * 2, folder, "mend it")
    assert str(folder) in finding.cause
    assert str(finding).endswith("are free; mend it")


def test_more_precisions_need_more_disk() -> None:
    assert disk_needed(GB, ["fp32"]) == 1.2 * GB
    assert disk_needed(GB, ["fp32", "int8", "fp16"]) == pytest.approx(2.16 * GB)


class TestMemory:
    @pytest.fixture
    def proc(self, tmp_path: Path) -> Path:
        proc = tmp_path / "proc"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text("MemFree: 1000 kB\nMemAvailable: 8000 kB\nSwapFree: 2000 kB\n")
        (proc / "self" / "cgroup").write_text("0::/user/app\n")
        return proc

    def group(self, tmp_path: Path, limit: str) -> Path:
        group = tmp_path / "cgroup" / "user" / "app"
        group.mkdir(parents=True)
        (group / "memory.max").write_text(limit)
        (group / "memory.current").write_text("3000000\n")
        (group / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
        return tmp_path / "cgroup"

    def test_swap_counts(self, proc: Path, tmp_path: Path) -> None:
        assert available_memory(proc, tmp_path / "none") == 10_000 * 1024

    def test_the_limit_of_a_control_group_counts_without_cached_files(
        self, proc: Path, tmp_path: Path
    ) -> None:
        assert available_memory(proc, self.group(tmp_path, "5000000\n")) == 3_000_000

    def test_a_control_group_without_limit_changes_nothing(self, proc: Path, tmp_path: Path) -> None:
        assert available_memory(proc, self.group(tmp_path, "max\n")) == 10_000 * 1024

    def test_this_machine_has_some(self) -> None:
        assert available_memory() > 1_000_000


def test_every_finding_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "available_memory", lambda: 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(sys, "version_info", (3, 10, 1, "final", 0))
    with pytest.raises(PreflightFailed) as caught:
        check_conversion(GB, ["fp32"], tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all("; " in line for line in lines)


def test_an_isolated_conversion_needs_disk_and_a_python_that_makes_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * GB))
    check_isolated(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=GB))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PreflightFailed) as caught:
        check_isolated(tmp_path)
    disk, ensurepip = str(caught.value).splitlines()
    assert "$XDG_CACHE_HOME" in disk
    assert ensurepip.endswith("apt-get install python3-venv")
