"""What the doctor says where NVIDIA's libraries are missing, too old, or there twice."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from parakeetd.diagnosis import libraries as examined
from parakeetd.diagnosis.gpu import Runtime
from parakeetd.diagnosis.libraries import Libraries, installed_libraries, library_checks
from parakeetd.measure.driver import Driver

GPU = Driver((13, 1), ("H200",))
CUDA_13 = Runtime({"onnxruntime-gpu": "1.31.1"}, (13, 0))


class Disk:
    """A machine with NVIDIA's libraries in three kinds of places; answers what the doctor finds there."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site, self.path, self.system = root / "site", root / "path", root / "system"
        self._root = root
        self._packages: list[SimpleNamespace] = []
        (root / "conf").mkdir()
        (root / "conf" / "cuda.conf").write_text(f"# NVIDIA\n{self.system}\n")
        monkeypatch.setattr(examined, "LINKER_CONFIGURATION", root / "conf")
        monkeypatch.setattr(examined, "_SYSTEM_FOLDERS", ())
        monkeypatch.setattr("sys.path", [str(self.site)])
        monkeypatch.setattr(metadata, "distributions", lambda: self._packages)
        monkeypatch.setattr(metadata, "distribution", self._distribution)

    def library(self, folder: Path, stem: str, version: str) -> None:
        """The file with its whole version and, as the linker asks for it, a link with the major one."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{stem}.so.{version}"
        file.write_bytes(b"")
        if "." in version:
            (folder / f"{stem}.so.{version.partition('.')[0]}").symlink_to(file)

    def package(self, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
        self._packages.append(
            SimpleNamespace(metadata={"Name": name}, version=version, requires=list(requires), name=name)
        )

    def pip(self, cudnn: str = "9.13.0.50", cudart: str = "13.0.48") -> None:
        """What `pip install 'parakeetd[cuda]'` brings."""
        self.library(self.site / "nvidia" / "cudnn" / "lib", "libcudnn", cudnn.partition(".")[0])
        self.library(self.site / "nvidia" / "cu13" / "lib", "libcudart", cudart.partition(".")[0])
        self.package("nvidia-cudnn-cu13", cudnn)
        self.package("nvidia-cuda-runtime", cudart)

    def found(self, driver: Driver | None = GPU, runtime: Runtime = CUDA_13) -> list[tuple[str, str]]:
        environment = {"LD_LIBRARY_PATH": f":{self.path}"}
        checks = library_checks(installed_libraries(environment), driver, runtime)
        return [(check.state, check.finding) for check in checks]

    def _distribution(self, name: str) -> SimpleNamespace:
        for package in self._packages:
            if package.name == name:
                return package
        raise metadata.PackageNotFoundError(name)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, monkeypatch)


def test_libraries_that_agree_are_told_with_their_versions(disk: Disk) -> None:
    disk.pip()
    assert disk.found() == [("ok", "cuDNN 9.13.0, CUDA 13.0.48, which is what ONNX Runtime was built for")]


def test_a_machine_that_has_no_libcudnn_is_told_what_brings_it(disk: Disk) -> None:
    disk.library(disk.system, "libcudart", "13.0.48")
    [(state, finding)] = disk.found()
    assert state == "note"
    assert finding.startswith("libcudnn.so.9 is nowhere: ONNX Runtime needs cuDNN 9; ")
    assert finding.endswith("pip install 'parakeetd[cuda]'")


def test_an_older_cudnn_is_named_with_its_file(disk: Disk) -> None:
    disk.library(disk.system, "libcudnn", "8.9.7")
    disk.library(disk.system, "libcudart", "13.0.48")
    [(state, finding)] = disk.found()
    assert state == "note"
    assert f"{disk.system}/libcudnn.so.8" in finding
    assert "is cuDNN 8.9.7, older than the cuDNN 9 that ONNX Runtime needs" in finding


def test_an_older_cudnn_on_the_path_of_the_linker_is_named_with_the_folder_to_take_out(disk: Disk) -> None:
    disk.pip()
    disk.library(disk.path, "libcudnn", "9.1.0")
    [(state, finding)] = disk.found()
    assert state == "note"
    assert "is cuDNN 9.1.0 and comes first on LD_LIBRARY_PATH, pip installed cuDNN 9.13.0" in finding
    assert finding.endswith(f"take {disk.path} out of LD_LIBRARY_PATH")


@pytest.mark.parametrize("version", ["9", "9.13.0", "8.9.7"])
def test_a_cudnn_on_the_path_that_harms_nothing_is_no_finding(disk: Disk, version: str) -> None:
    disk.pip()
    disk.library(disk.path, "libcudnn", version)
    assert disk.found() == [("ok", "cuDNN 9.13.0, CUDA 13.0.48, which is what ONNX Runtime was built for")]


def test_of_two_on_the_system_the_one_that_fits_is_told(disk: Disk) -> None:
    disk.library(disk.path, "libcudnn", "8.9.7")
    disk.library(disk.system, "libcudnn", "9.12.0")
    disk.library(disk.system, "libcudart", "13.0.48")
    assert disk.found() == [("ok", "cuDNN 9.12.0, CUDA 13.0.48, which is what ONNX Runtime was built for")]


def test_a_cuda_of_another_major_version_is_named(disk: Disk) -> None:
    disk.library(disk.system, "libcudnn", "9.13.0")
    disk.library(disk.system, "libcudart", "12.8.90")
    [(state, finding)] = disk.found()
    assert state == "note"
    assert "is CUDA 12.8.90, older than the CUDA 13 that ONNX Runtime needs" in finding


@pytest.mark.parametrize(
    ("version", "requires", "built"),
    [
        ("2.9.1+cu126", (), 12),
        ("2.9.1", ("numpy", "nvidia-cudnn-cu12==9.10.2.21; platform_system == 'Linux'"), 12),
        ("2.13.0", ("nvidia-cudnn-cu13==9.13.0.50",), 0),
        ("2.13.0+cpu", (), 0),
        ("2.13.0", (), 0),
    ],
)
def test_a_torch_for_another_cuda_is_named(
    disk: Disk, version: str, requires: tuple[str, ...], built: int
) -> None:
    disk.pip()
    disk.package("torch", version, requires)
    [(state, finding)] = disk.found()
    if built:
        assert state == "note"
        assert f"torch {version} was built for CUDA {built}, ONNX Runtime for CUDA 13" in finding
    else:
        assert state == "ok"


@pytest.mark.parametrize(
    ("driver", "runtime"),
    [(None, CUDA_13), (Driver((13, 1), ()), CUDA_13), (GPU, Runtime({"onnxruntime": "1.31.1"}, None))],
    ids=["no driver", "no GPU", "runtime without CUDA"],
)
def test_without_a_gpu_nothing_is_asked_for(disk: Disk, driver: Driver | None, runtime: Runtime) -> None:
    disk.library(disk.path, "libcudnn", "8.9.7")
    [(state, finding)] = disk.found(driver, runtime)
    assert state == "ok"
    assert finding.startswith("not needed")


def test_this_machine_can_be_looked_at() -> None:
    assert isinstance(installed_libraries({}), Libraries)
