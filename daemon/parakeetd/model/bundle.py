"""The on-disk contract between convert, which writes a bundle, and the daemon, which reads it.

A bundle is a folder: `manifest.json` and the files it lists, each with its size and SHA-256. The manifest is
the only source of facts about the model (mels, durations, vocabulary size...); nothing is assumed from a name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from parakeetd.errors import BundleError, InputError, ModelNotFound
from parakeetd.model.external import external_locations
from parakeetd.model.forms import FORMS, GRAPHS, Choice, Decoding, Form, choose

FORMAT = 1
"""Version of the manifest's layout. A reader refuses any other."""

MANIFEST = "manifest.json"
TOKENS = "tokens.txt"
TOKENIZER = "tokenizer.model"
LOG_MEL_GRAPH = "preprocessor.onnx"

Precision = Literal["fp32", "int8", "fp16"]
PRECISIONS: tuple[Precision, ...] = typing.get_args(Precision)

EMBEDDED = Path(__file__).resolve().parent.parent / "embedded" / "demo"
"""The small model that ships inside the package, so that a fresh installation recognises something at once."""


def graph_file(graph: str, precision: Precision) -> str:
    """File name of a graph (`encoder-model`, `joint-model`...) in a precision."""
    suffix = "" if precision == "fp32" else f".{precision}"
    return f"{graph}{suffix}.onnx"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights came from."""

    file: str
    """Base name of the `.nemo` file."""
    sha256: str
    nemo_class: str
    """NeMo class, e.g. `EncDecRNNTBPEModel`."""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Facts read from the loaded model."""

    layers: int
    d_model: int
    """Width of the encoder output."""
    mels: int
    vocabulary: int
    """Number of text tokens, without blank. Blank has this index."""
    durations: tuple[int, ...]
    """Encoder frames a TDT step may advance, in the order of the joint's last outputs."""
    prediction_layers: int
    prediction_hidden: int
    subsampling: int
    """Log-mel frames per encoder frame."""
    sample_rate: int
    """Hz."""
    hop_samples: int
    """Samples per log-mel frame."""
    max_symbols: int
    """Most tokens emitted at one encoder frame."""
    max_encoder_frames: int
    """Longest input the relative positions allow, in encoder frames."""
    ctc: bool
    """The model has a CTC head (`ctc-model.onnx`)."""

    @property
    def frame_seconds(self) -> float:
        """Seconds per encoder frame."""
        return self.subsampling * self.hop_samples / self.sample_rate

    @property
    def max_samples(self) -> int:
        """Longest input in samples."""
        return self.max_encoder_frames * self.subsampling * self.hop_samples


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `manifest.json`."""

    name: str
    source: Source
    architecture: Architecture
    languages: tuple[str, ...]
    """BCP-47 tags, e.g. `en-US`."""
    precisions: tuple[Precision, ...]
    files: Mapping[str, FileEntry]
    """Every file of the bundle but the manifest itself, by its path relative to the bundle."""
    tools: Mapping[str, str]
    """Versions of what made the bundle."""
    verification: Mapping[str, Any] = field(default_factory=dict)
    """What was measured against NeMo before the bundle was published."""
    decoding: Mapping[str, Mapping[str, Decoding]] = field(default_factory=dict)
    """What decodes fastest: device -> batch size -> form, as measured on the machine that made the bundle, in the
    precision that the device takes by itself. Empty in bundles whose decoding nobody measured."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose manifest has been read. Files are checked when they are about to be used."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """Read and check the manifest and that each listed file is there, in the folder itself, with its size.

        Raises:
            BundleError: the folder, the manifest, a field or a file is missing or wrong; the message names it.
        """
        manifest = parse_manifest(path)
        for name, entry in manifest.files.items():
            file = _inside(path, name)
            if not file.is_file():
                raise BundleError(path, f"{name} is missing; convert the model again with --force")
            if (size := file.stat().st_size) != entry.bytes:
                raise BundleError(
                    path, f"{name} has {size} bytes, the manifest says {entry.bytes}: it is damaged"
                )
        return cls(path, manifest)

    def precision_for(self, device: str, wanted: Precision | None = None) -> Precision:
        """The precision to run on a device: what is wanted, or the fastest of those that the bundle has.

        int8 is for the CPU: ONNX Runtime has no such products for a GPU and would compute them on the CPU, with a
        copy to and fro for each. A GPU that int8 is wanted for takes the fastest of the others.

        Raises:
            BundleError: the bundle does not have what is wanted.
        """
        has = self.manifest.precisions
        if wanted is not None and wanted not in has:
            raise BundleError(self.path, f"it has no {wanted} graphs, only {', '.join(has)}")
        fastest: Precision = "fp16" if device == "cuda" else "int8"
        if wanted is None or (device == "cuda" and wanted == "int8"):
            return fastest if fastest in has else "fp32"
        return wanted

    @property
    def bytes_on_disk(self) -> int:
        """What the bundle's files take; one that has two names, as for another engine, counts once."""
        files = [(self.path / name).stat() for name in self.manifest.files if (self.path / name).is_file()]
        return sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())

    def forms(self, precision: Precision) -> tuple[Form, ...]:
        """The forms of the transducer decoder whose graphs the bundle has in a precision."""
        return tuple(
            form
            for form in FORMS
            if all(graph_file(graph, precision) in self.manifest.files for graph in GRAPHS[form])
        )

    def choice(self, device: str, precision: Precision) -> Choice:
        """Which form decodes which batch size on a device.

        Raises:
            BundleError: there is no form, or the record of what was measured is not readable.
        """
        try:
            return choose(self.manifest.decoding, device, self.forms(precision))
        except ValueError as error:
            raise BundleError(self.path, f"{MANIFEST}: {error}") from error

    def decoded_as(self, record: Mapping[str, Mapping[str, Decoding]]) -> Bundle:
        """The same bundle, with what was measured elsewhere in place of the manifest's `decoding`.

        Args:
            record: device -> batch size -> decoding; devices that it does not have keep the manifest's.
        """
        decoding = {**self.manifest.decoding, **record}
        return dataclasses.replace(self, manifest=dataclasses.replace(self.manifest, decoding=decoding))

    def checked(self, names: Iterable[str]) -> list[Path]:
        """Paths of these files, after comparing the SHA-256 sums of each and of what a graph keeps its weights in.

        Raises:
            BundleError: a file is not in the manifest or its content is not what convert wrote, or a graph reads
                its weights from a file that is not part of the bundle.
        """
        paths = []
        summed = set()
        for name in names:
            if name not in self.manifest.files:
                raise BundleError(self.path, f"the manifest does not list {name}")
            # Several graphs may keep their weights in one file.
            for part in (p for p in (name, *self._weights_of(name)) if p not in summed):
                if self._sha256(part) != self.manifest.files[part].sha256:
                    raise BundleError(self.path, f"{part} does not match its SHA-256 sum: it is damaged")
                summed.add(part)
            paths.append(self.path / name)
        return paths

    def _weights_of(self, name: str) -> list[str]:
        """The files that a graph keeps its weights in; none for other files.

        Raises:
            BundleError: one is not in the manifest, whose files lie inside the bundle.
        """
        if not name.endswith(".onnx"):
            return []
        try:
            locations = sorted(external_locations(self.path / name))
        except ValueError as error:
            raise BundleError(self.path, f"{name} is damaged: {error}") from error
        except OSError as error:
            raise BundleError(self.path, f"{name} cannot be read: {error.strerror}") from error
        # Beside the graph, as ONNX has it.
        places = {location: (PurePosixPath(name).parent / location).as_posix() for location in locations}
        for location, file in places.items():
            if file not in self.manifest.files:
                raise BundleError(
                    self.path,
                    f"refused: {name} reads its weights from {location!r}, which is no file of the bundle",
                )
        return list(places.values())

    def _sha256(self, name: str) -> str:
        try:
            return sha256(self.path / name)
        except OSError as error:
            raise BundleError(self.path, f"{name} cannot be read: {error.strerror}") from error


def find_bundle(name: str, models: Path) -> Bundle:
    """The bundle of this name in the folder of models; `demo` falls back to the one in the package.

    Raises:
        ModelNotFound: there is none.
        BundleError: there is one and it cannot be used.
    """
    if name and Path(name).name == name and _holds_bundle(models / name):
        return Bundle.read(models / name)
    if name == EMBEDDED.name:
        return Bundle.read(EMBEDDED)
    raise ModelNotFound(name, models, installed_names(models))


def installed_names(models: Path) -> list[str]:
    """Names of the folders in `models` that hold a manifest, sorted, and the embedded model's.

    Raises:
        InputError: the folder of models cannot be read.
    """
    try:
        folders = [path for path in models.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        folders = []
    except OSError as error:
        raise InputError(f"the folder of models {models} cannot be read: {error.strerror}") from error
    return sorted({path.name for path in folders if _holds_bundle(path)} | {EMBEDDED.name})


def _holds_bundle(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file()
    except OSError:
        # It may not be looked into: it is named, and what is wrong is said when it is read.
        return True


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into the folder `path`."""
    text = json.dumps(dataclasses.asdict(manifest), indent=1, ensure_ascii=False)
    (path / MANIFEST).write_text(text + "\n", encoding="utf-8")


def parse_manifest(path: Path) -> Manifest:
    """Read `manifest.json` in the folder `path`.

    Raises:
        BundleError: it is missing, is not JSON, has another format, or a field is missing or has the wrong type.
    """
    try:
        raw = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(path, f"{MANIFEST} is missing; convert the model again with --force") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(path, f"{MANIFEST} cannot be read: {reason}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise BundleError(path, f"{MANIFEST} has format {found!r}, this version reads format {FORMAT}")
    try:
        manifest: Manifest = _build(Manifest, raw, "")
    except (TypeError, ValueError) as error:
        raise BundleError(path, f"{MANIFEST}: {error}") from error
    return manifest


def _inside(folder: Path, name: str) -> Path:
    """`folder/name`, refused when it leads out of the folder or over a link. The folder itself may be a link."""
    real = folder.resolve()
    file = (folder / name).resolve()
    if not file.is_relative_to(real):
        raise BundleError(folder, f"refused: the manifest lists {name!r}, which lies outside the bundle")
    if file != Path(os.path.normpath(real / name)):
        raise BundleError(folder, f"refused: {name} is a link; a bundle's files are its own")
    return file


def _build(kind: Any, value: Any, where: str) -> Any:
    """Build a value of the annotated type `kind` from JSON, naming the field when it does not fit."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{where or 'the top level'} must be an object, not {type(value).__name__}")
        hints = typing.get_type_hints(kind)
        built = {}
        for item in dataclasses.fields(kind):
            name = f"{where}.{item.name}" if where else item.name
            if item.name in value:
                built[item.name] = _build(hints[item.name], value[item.name], name)
            elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                raise ValueError(f"the field {name} is missing")
        return typing.cast(type, kind)(**built)
    if origin is tuple and isinstance(value, list):
        return tuple(_build(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {k: _build(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin is Literal and value in arguments:
        return value
    if kind is Any or (isinstance(kind, type) and type(value) is kind):
        return value
    raise TypeError(f"the field {where} must be {getattr(kind, '__name__', kind)}, not {value!r}")
