"""The models that are known by name."""

from __future__ import annotations

from dataclasses import dataclass

EUROPEAN = (
    *(
        "bg",
        "hr",
        "cs",
        "da",
        "nl",
        "en",
        "et",
        "fi",
        "fr",
        "de",
        "el",
        "hu",
        "it",
        "lv",
        "lt",
        "mt",
        "pl",
        "pt",
    ),
    *("ro", "sk", "sl", "es", "sv", "ru", "uk"),
)
"""BCP-47 tags of the 25 languages of parakeet-tdt-0.6b-v3, as its model card lists them."""


@dataclass(frozen=True)
class Entry:
    """A model of the catalog. What can be read from the model itself is not here."""

    name: str
    repository: str
    """Hugging Face repository; empty for the model that ships in the package."""
    file: str
    """The `.nemo` file in it."""
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


def _nvidia(name: str, model: str, purpose: str, languages: tuple[str, ...] = ("en-US",)) -> Entry:
    return Entry(name, f"nvidia/{model}", f"{model}.nemo", languages, "CC-BY-4.0", purpose)


CATALOG = (
    _nvidia("0.6b-v3", "parakeet-tdt-0.6b-v3", "25 European languages, the default", EUROPEAN),
    _nvidia("0.6b-v2", "parakeet-tdt-0.6b-v2", "best English"),
    _nvidia("1.1b", "parakeet-tdt_ctc-1.1b", "hybrid TDT + CTC, English"),
    _nvidia("tdt-1.1b", "parakeet-tdt-1.1b", "lower-case English"),
    _nvidia("110m", "parakeet-tdt_ctc-110m", "small GPUs and CPUs, English"),
    Entry("demo", "", "demo.nemo", ("en-US",), "CC-BY-SA-4.0", "works offline at once; limited vocabulary"),
)


def by_name(name: str) -> Entry | None:
    return next((entry for entry in CATALOG if entry.name == name), None)


def by_file(file_name: str) -> Entry | None:
    """The entry whose `.nemo` file has this base name."""
    return next((entry for entry in CATALOG if entry.file == file_name), None)
