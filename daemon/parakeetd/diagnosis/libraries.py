"""Whether NVIDIA's libraries that lie about on a machine agree: with ONNX Runtime, and with one another.

They come from pip, from the system and from folders on `LD_LIBRARY_PATH`, often from all three. A process takes the
first that it finds, part by part: cuDNN's parts of two versions in one process fail in the middle of the work.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Literal

from parakeetd.diagnosis.check import Check
from parakeetd.diagnosis.gpu import Runtime
from parakeetd.measure.driver import Driver

Origin = Literal["pip", "LD_LIBRARY_PATH", "system"]

CUDNN_MAJOR = 9
"""Of every ONNX Runtime since 1.18.1 that was built for CUDA."""

LINKER_CONFIGURATION = Path("/etc/ld.so.conf.d")

_SYSTEM_FOLDERS = ("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")

_INSTALL = "install them with: pip install 'parakeetd[cuda]'"


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library of NVIDIA's on disk."""

    file: Path
    version: tuple[int, ...]
    """As far as the file's name or pip tells it; the major version at least."""
    origin: Origin


@dataclass(frozen=True, slots=True)
class Libraries:
    """What was found, each in the order in which a process looks."""

    cudnn: Sequence[Library]
    cudart: Sequence[Library]
    """CUDA's runtime."""
    torch: tuple[str, int] | None = None
    """Version of an installed torch and the major version of the CUDA that it was built for; None without."""


def library_checks(libraries: Libraries, driver: Driver | None, runtime: Runtime) -> Iterator[Check]:
    """Every disagreement with its cause and what mends it, or one line that there is none.

    Args:
        driver: None when NVIDIA's driver is not installed.
    """
    if driver is None or not driver.gpus or runtime.cuda is None:
        yield Check("cuda libraries", "ok", "not needed: there is no GPU that ONNX Runtime may use")
        return
    major = runtime.cuda[0]
    findings = [
        *_family("cuDNN", "libcudnn", CUDNN_MAJOR, libraries.cudnn),
        *_family("CUDA", "libcudart", major, libraries.cudart),
    ]
    if libraries.torch is not None and libraries.torch[1] != major:
        version, built = libraries.torch
        findings.append(
            f"torch {version} was built for CUDA {built}, ONNX Runtime for CUDA {major}: in one process only the one "
            "that comes first finds its libraries; converting needs torch for the CPU only, in an environment of "
            "its own: parakeetd-convert --isolated"
        )
    for finding in findings:
        yield Check("cuda libraries", "note", finding)
    if not findings:
        cudnn, cudart = _fitting(libraries.cudnn, CUDNN_MAJOR), _fitting(libraries.cudart, major)
        used = f"cuDNN {_dotted(cudnn[0])}, CUDA {_dotted(cudart[0])}"
        yield Check("cuda libraries", "ok", f"{used}, which is what ONNX Runtime was built for")


def _family(name: str, stem: str, needed: int, found: Sequence[Library]) -> Iterator[str]:
    fitting = _fitting(found, needed)
    if not found:
        yield f"{stem}.so.{needed} is nowhere: ONNX Runtime needs {name} {needed}; {_INSTALL}"
        return
    if not fitting:
        first = found[0]
        age = "older" if first.version[0] < needed else "newer"
        yield (
            f"{first.file} is {name} {_dotted(first)}, {age} than the {name} {needed} that ONNX Runtime needs; "
            f"{_INSTALL}"
        )
        return
    packaged = next((library for library in fitting if library.origin == "pip"), None)
    ahead = next((library for library in fitting if library.origin == "LD_LIBRARY_PATH"), None)
    if packaged and ahead and _differ(packaged.version, ahead.version):
        yield (
            f"{ahead.file} is {name} {_dotted(ahead)} and comes first on LD_LIBRARY_PATH, pip installed {name} "
            f"{_dotted(packaged)}: their parts do not mix; take {ahead.file.parent} out of LD_LIBRARY_PATH"
        )


def installed_libraries(environment: Mapping[str, str]) -> Libraries:
    """Look where the linker and pip put libraries; nothing is loaded."""
    places = list(_places(environment))
    return Libraries(
        cudnn=find_libraries("libcudnn", places, _packaged("nvidia-cudnn-cu")),
        cudart=find_libraries("libcudart", places, _packaged("nvidia-cuda-runtime")),
        torch=_torch(),
    )


def find_libraries(
    stem: str, places: Iterable[tuple[Origin, Path]], packaged: Mapping[int, tuple[int, ...]]
) -> list[Library]:
    """The libraries `STEM.so.MAJOR` in these folders, each by its own file.

    Args:
        packaged: version that pip installed, by its major version: its files do not carry it in their names.
    """
    found: dict[Path, Library] = {}
    for origin, folder in places:
        for file in sorted(folder.glob(f"{stem}.so.*")):
            real = file.resolve()
            version = _numbers(real.name.rpartition(".so.")[2])
            if version and real.is_file():
                if origin == "pip":
                    version = packaged.get(version[0], version)
                found.setdefault(real, Library(file, version, origin))
    return list(found.values())


def _places(environment: Mapping[str, str]) -> Iterator[tuple[Origin, Path]]:
    for entry in sys.path:
        yield from (("pip", folder) for folder in sorted(Path(entry).glob("nvidia/*/lib")))
    for entry in environment.get("LD_LIBRARY_PATH", "").split(":"):
        if entry:
            yield "LD_LIBRARY_PATH", Path(entry)
    for file in sorted(LINKER_CONFIGURATION.glob("*.conf")):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("/"):
                yield "system", Path(line.strip())
    yield from (("system", Path(folder)) for folder in _SYSTEM_FOLDERS)


def _packaged(prefix: str) -> dict[int, tuple[int, ...]]:
    """Versions of the installed packages whose names begin so, by major version of the library."""
    versions = {}
    for distribution in metadata.distributions():
        if str(distribution.metadata["Name"]).startswith(prefix):
            version = _numbers(distribution.version)
            if version:
                versions[version[0]] = version[:3]
    return versions


def _torch() -> tuple[str, int] | None:
    """An installed torch that was built for CUDA, by what its metadata says: importing it takes seconds."""
    try:
        torch = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return None
    built = re.search(r"\+cu(\d\d)", torch.version) or next(
        filter(None, (re.match(r"nvidia-cudnn-cu(\d\d)", needed) for needed in torch.requires or ())), None
    )
    return (torch.version, int(built[1])) if built else None


def _fitting(found: Sequence[Library], needed: int) -> list[Library]:
    return [library for library in found if library.version[0] == needed]


def _differ(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Versions that differ as far as both are known."""
    return any(a != b for a, b in zip(one, other, strict=False))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in takewhile(str.isdigit, text.split(".")))


def _dotted(library: Library) -> str:
    return ".".join(map(str, library.version))
