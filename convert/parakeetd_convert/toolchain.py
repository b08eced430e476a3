"""Importing torch, NeMo and onnx: quietly when they are there, with one clear line when they are not."""

from __future__ import annotations

import contextlib
import importlib
import logging
import platform
import warnings
from collections.abc import Iterator
from importlib import metadata

import parakeetd
from parakeetd_convert.errors import MissingToolchain

_NEEDED = ("torch", "onnx", "onnxruntime", "nemo.collections.asr")

_CHATTY = ("nv_one_logger", "torch.onnx", "numexpr", "matplotlib", "pytorch_lightning", "lightning")


def load_toolchain(*, chatty: bool = False) -> None:
    """Import what a conversion needs; takes about 15 s the first time. Its loggers are set to errors only.

    Args:
        chatty: leave the loggers as they are.

    Raises:
        MissingToolchain: a library is not installed or cannot be loaded; the message says what to install.
    """
    for name in () if chatty else _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _NEEDED:
        try:
            with quiet():
                importlib.import_module(name)
        except ImportError as error:
            raise MissingToolchain(
                f"{name.partition('.')[0]} cannot be loaded ({str(error).splitlines()[0]}); "
                "conversion needs the extra: pip install 'parakeetd[convert]'"
            ) from error
    from nemo.utils import logging as nemo_logging

    if not chatty:
        nemo_logging.setLevel(nemo_logging.ERROR)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings: those of NeMo's imports, of tracing and of quantisation are about code that is not ours."""
    root = logging.getLogger()
    level = root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            root.setLevel(level)


def versions() -> dict[str, str]:
    """Versions of what makes a bundle, for its manifest."""
    found = {"parakeetd": parakeetd.__version__, "python": platform.python_version()}
    for package in ("torch", "nemo_toolkit", "onnx", "onnxruntime-gpu", "onnxruntime"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
