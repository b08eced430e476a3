"""Loading a `.nemo` file as what it is: a stranger's archive with a pickle in it.

Members are checked before anything is unpacked (CVE-2007-4559), weights are loaded as tensors only
(CVE-2025-32434), and only the two model classes that the graphs reproduce are built.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from parakeetd.model.bundle import Architecture
from parakeetd_convert.errors import NemoFileError, UnsupportedModel
from parakeetd_convert.sums import file_sha256
from parakeetd_convert.toolchain import quiet

CONFIG = "model_config.yaml"
WEIGHTS = "model_weights.ckpt"
CLASSES = ("EncDecRNNTBPEModel", "EncDecHybridRNNTCTCBPEModel")

_OPENERS: tuple[Callable[[Path], io.BufferedIOBase], ...] = (lambda file: file.open("rb"), gzip.GzipFile)
"""Files of before NeMo 1.7 are compressed."""

MAX_MEMBERS = 1_000
MAX_BYTES = 32 << 30
"""The largest model of the catalog unpacks to 4.3 GB."""
MAX_GROWTH = 20
"""Times its size that a file may unpack to: weights hardly compress."""
MAX_HEADER = 16 << 20
"""Bytes. Tar headers of any length exist, and are read into memory whole."""

DEFAULT_MAX_SYMBOLS = 10
"""NeMo's own, for a model whose decoding sets no limit."""


@dataclass(frozen=True)
class Loaded:
    """A restored model and where it came from."""

    model: Any
    """The NeMo model, on the CPU, in evaluation mode, with NeMo's default greedy decoding."""
    nemo_class: str
    sha256: str


def load_nemo(file: Path, scratch: Path | None = None) -> Loaded:
    """Restore a TDT model on the CPU.

    Args:
        scratch: an existing folder to unpack into; the system's folder of temporary files when not given. What is
            unpacked is removed again, and needs as much disk as the file.

    Raises:
        NemoFileError: not a `.nemo` file, damaged, or with a member that must not be unpacked.
        UnsupportedModel: another class of model, or one without durations.
    """
    with tempfile.TemporaryDirectory(prefix="parakeetd-convert-", dir=scratch) as folder:
        unpack(file, Path(folder))
        config, nemo_class = _read_config(file, Path(folder))
        model = _restore(file, Path(folder), config, nemo_class)
    _use_greedy_decoding(model)
    if not model.joint.num_extra_outputs or model.cfg.decoding.get("model_type") != "tdt":
        raise UnsupportedModel(f"{file}: {nemo_class} without TDT durations; only TDT models are converted")
    return Loaded(model=model, nemo_class=nemo_class, sha256=file_sha256(file))


def inspect(file: Path) -> None:
    """Check a `.nemo` file's members without unpacking anything; needs neither torch nor NeMo.

    Whether there is room to unpack them is `preflight`'s to say.

    Raises:
        NemoFileError: as `unpack`.
    """
    with _explained(file), _open(file) as archive:
        _checked_members(file, archive)


def unpack(file: Path, folder: Path) -> None:
    """Unpack a `.nemo` file into `folder`, after checking every member.

    Raises:
        NemoFileError: not an archive, damaged, or with an unsafe member, which the message names; then
            nothing has been written.
    """
    with _explained(file), _open(file) as archive:
        members = _checked_members(file, archive)
        needed, free = sum(member.size for member in members), shutil.disk_usage(folder).free
        if needed > free:
            raise NemoFileError(
                file, f"needs {needed >> 20} MiB to unpack, {free >> 20} MiB are free in {folder}"
            )
        archive.extractall(folder, members, filter="data")


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn what reading an archive can raise into one line about this file."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise NemoFileError(file, f"the archive is damaged ({error}); fetch it again") from error
    except FileNotFoundError:
        raise NemoFileError(file, "there is no such file") from None
    except OSError as error:
        raise NemoFileError(file, f"cannot be unpacked: {error.strerror or error}") from error


@contextlib.contextmanager
def _open(file: Path) -> Iterator[tarfile.TarFile]:
    for opener in _OPENERS:
        with opener(file) as content:
            archive = _tar(_Bounded(file, content))
            if archive is not None:
                with archive:
                    yield archive
                return
    raise NemoFileError(file, "is not a .nemo file (not a tar archive)")


def _tar(content: _Bounded) -> tarfile.TarFile | None:
    try:
        return tarfile.open(fileobj=content, mode="r:")
    except (tarfile.ReadError, gzip.BadGzipFile):
        return None


class _Bounded(io.RawIOBase):
    """A file that is not read in larger pieces than an honest archive needs."""

    def __init__(self, file: Path, content: io.BufferedIOBase) -> None:
        self._file = file
        self._content = content

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise NemoFileError(self._file, f"refused: it has a header of more than {MAX_HEADER >> 20} MiB")
        return self._content.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        return self._content.tell()


def _checked_members(file: Path, archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    total, most = 0, MAX_GROWTH * file.stat().st_size
    for member in archive:
        members.append(member)
        total += member.size
        if problem := _member_problem(member):
            raise NemoFileError(file, f"refused: its member {member.name!r} {problem}")
        if len(members) > MAX_MEMBERS:
            raise NemoFileError(file, f"refused: it has more than {MAX_MEMBERS} members")
        if total > MAX_BYTES:
            raise NemoFileError(file, f"refused: it unpacks to more than {MAX_BYTES >> 30} GiB")
        if total > most:
            raise NemoFileError(file, f"refused: it unpacks to more than {MAX_GROWTH} times its size")
    names = {PurePosixPath(member.name).as_posix() for member in members if member.isreg()}
    for needed in (CONFIG, WEIGHTS):
        if needed not in names:
            raise NemoFileError(file, f"is not a .nemo file (it has no {needed})")
    return members


def _member_problem(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "leads outside the archive"
    if member.issym() or member.islnk():
        return f"is a link to {member.linkname!r}"
    if member.issparse():
        return "is a sparse file"
    if not (member.isreg() or member.isdir()):
        return "is neither a file nor a folder"
    return ""


def _read_config(file: Path, folder: Path) -> tuple[Any, str]:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        config = OmegaConf.load(folder / CONFIG)
        if isinstance(config, DictConfig) and "model" in config and "target" not in config:
            config = config.model
        target = str(config.get("target", "")) if isinstance(config, DictConfig) else ""
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise NemoFileError(file, f"{CONFIG} cannot be read: {str(error).splitlines()[0]}") from error
    nemo_class = target.rpartition(".")[2]
    if nemo_class not in CLASSES:
        raise UnsupportedModel(
            f"{file}: {nemo_class or 'a model without a class name'} cannot be converted, "
            f"only {' and '.join(CLASSES)}"
        )
    for key, value in _strings(OmegaConf.to_container(config, resolve=False), ""):
        if value.startswith("nemo:") and PurePosixPath(value).name != value:
            raise NemoFileError(
                file, f"refused: {CONFIG} has {key}={value!r}, which leads outside the archive"
            )
    # Data sets of the training are not at hand; without them NeMo does not look for them.
    for section in ("train_ds", "validation_ds", "test_ds"):
        config[section] = None
    return config, nemo_class


def _strings(value: Any, where: str) -> list[tuple[str, str]]:
    """All strings in nested lists and dicts, with their dotted places."""
    if isinstance(value, str):
        return [(where, value)]
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _strings(item, f"{where}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [pair for index, item in enumerate(value) for pair in _strings(item, f"{where}[{index}]")]
    return []


def _restore(file: Path, folder: Path, config: Any, nemo_class: str) -> Any:
    import torch
    from nemo.collections.asr import models
    from nemo.core.connectors.save_restore_connector import SaveRestoreConnector

    class Connector(SaveRestoreConnector):  # type: ignore[misc]
        @staticmethod
        def _load_state_dict_from_disk(model_weights: str, map_location: Any = "cpu") -> Any:
            # Mapped, the weights are not in memory twice; only torch's newer format can be.
            mapped = zipfile.is_zipfile(model_weights)
            # Written out: without the argument an environment variable turns the safe loading off.
            return torch.load(model_weights, map_location="cpu", weights_only=True, mmap=mapped)

    model_class = getattr(models, nemo_class)
    config.target = f"{model_class.__module__}.{nemo_class}"
    connector = Connector()
    connector.model_extracted_dir = str(folder)
    try:
        with quiet():
            model = model_class.restore_from(
                str(file),
                override_config_path=config,
                map_location=torch.device("cpu"),
                save_restore_connector=connector,
            )
    except pickle.UnpicklingError as error:
        raise NemoFileError(file, f"refused: {WEIGHTS} holds more than tensors") from error
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise NemoFileError(file, f"NeMo cannot restore it: {first}") from error
    return model.eval()


def _use_greedy_decoding(model: Any) -> None:
    """NeMo's default decoding, and its limit of symbols where the model sets none."""
    from omegaconf import OmegaConf, open_dict

    config = OmegaConf.create(OmegaConf.to_container(model.cfg.decoding, resolve=True))
    with open_dict(config):
        config.strategy = "greedy_batch"
        config.tdt_include_token_duration = True
        greedy = config.setdefault("greedy", {})
        if not greedy.get("max_symbols") and not greedy.get("max_symbols_per_step"):
            config.greedy.max_symbols = DEFAULT_MAX_SYMBOLS
    with quiet():
        model.change_decoding_strategy(config)


def read_architecture(model: Any) -> Architecture:
    """The facts of a bundle, from the modules that were built."""
    features = model.preprocessor.featurizer
    return Architecture(
        layers=len(model.encoder.layers),
        d_model=int(model.encoder._feat_out),
        mels=int(features.nfilt),
        vocabulary=int(model.decoder.blank_idx),
        durations=tuple(int(duration) for duration in model.decoding.durations),
        prediction_layers=int(model.decoder.pred_rnn_layers),
        prediction_hidden=int(model.decoder.pred_hidden),
        subsampling=int(model.encoder.subsampling_factor),
        sample_rate=int(features.sample_rate),
        hop_samples=int(features.hop_length),
        max_symbols=int(model.decoding.decoding.max_symbols),
        max_encoder_frames=int(model.encoder.pos_emb_max_len),
        ctc=has_ctc(model),
    )


def has_ctc(model: Any) -> bool:
    """The model is a hybrid with a CTC head."""
    return getattr(model, "ctc_decoder", None) is not None
