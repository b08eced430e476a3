"""The models that are known by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from parakeetd.model.bundle import PRECISIONS, Precision

EUROPEAN = (
    *("bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu", "it", "lv", "lt", "mt"),
    *("pl", "pt", "ro", "sk", "sl", "es", "sv", "ru", "uk"),
)
"""BCP-47 tags of the 25 languages of parakeet-tdt-0.6b-v3, as its model card lists them."""

SHARE: Final[dict[Precision, float]] = {"fp32": 1.0, "int8": 0.3, "fp16": 0.5}
"""Size of a bundle's graphs in a precision, as a share of the float32 weights."""


@dataclass(frozen=True)
class Entry:
    """A model of the catalog: what its public page says. A conversion reads its facts from the model itself."""

    name: str
    repository: str
    """Hugging Face repository; empty for the model that ships in the package."""
    file: str
    """The `.nemo` file in it."""
    parameters: int
    """Millions."""
    download: int
    """Size of the `.nemo` file in MB, about."""
    languages: tuple[str, ...]
    """BCP-47 tags: a `.nemo` file does not say."""
    licence: str
    purpose: str

    @property
    def source(self) -> str:
        return self.repository or "shipped in the package"

    @property
    def url(self) -> str:
        return f"https://huggingface.co/{self.repository}/resolve/main/{self.file}"

    def installed(self, precisions: Iterable[Precision] = PRECISIONS) -> int:
        """Size of a bundle in these precisions in MB, about. The weights of a `.nemo` file are float32."""
        return round(self.download * sum(SHARE[precision] for precision in precisions))


def _nvidia(
    name: str,
    model: str,
    parameters: int,
    download: int,
    purpose: str,
    languages: tuple[str, ...] = ("en-US",),
) -> Entry:
    return Entry(
        name=name,
        repository=f"nvidia/{model}",
        file=f"{model}.nemo",
        parameters=parameters,
        download=download,
        languages=languages,
        licence="CC-BY-4.0",
        purpose=purpose,
    )


CATALOG = (
    _nvidia("0.6b-v3", "parakeet-tdt-0.6b-v3", 600, 2_510, "25 European languages, the default", EUROPEAN),
    _nvidia("0.6b-v2", "parakeet-tdt-0.6b-v2", 600, 2_470, "best English"),
    _nvidia("1.1b", "parakeet-tdt_ctc-1.1b", 1_100, 4_280, "hybrid TDT + CTC, English"),
    _nvidia("tdt-1.1b", "parakeet-tdt-1.1b", 1_100, 4_280, "lower-case English"),
    _nvidia("110m", "parakeet-tdt_ctc-110m", 110, 459, "small GPUs and CPUs, English"),
    Entry(
        name="demo",
        repository="",
        file="demo.nemo",
        parameters=4,
        download=17,
        languages=("en-US",),
        licence="CC-BY-SA-4.0",
        purpose="works offline at once; limited vocabulary",
    ),
)


def by_name(name: str) -> Entry | None:
    return next((entry for entry in CATALOG if entry.name == name), None)


def by_file(file_name: str) -> Entry | None:
    """The entry whose `.nemo` file has this base name."""
    return next((entry for entry in CATALOG if entry.file == file_name), None)
