"""The configuration file, TOML, read into the settings; what does not fit is named by its key."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from parakeetd.config.settings import Config
from parakeetd.errors import ConfigError
from parakeetd.paths import Paths


def read_config(file: Path | None, paths: Paths) -> Config:
    """The configuration in `file`, or in the user's file if there is one, or the defaults.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has an unknown key or a wrong value; the message names
            it.
    """
    wanted, file = file is not None, file or paths.config_file
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if not wanted:
            return Config()
        raise ConfigError(f"configuration {file}: cannot be read: {error.strerror}") from error
    except OSError as error:
        raise ConfigError(f"configuration {file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"configuration {file}: not valid TOML: {error}") from error
    try:
        config: Config = _build(Config, raw, "")
    except ConfigError as error:
        raise ConfigError(f"configuration {file}: {error}") from error
    return config


_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    tuple: "a list of texts in brackets",
}


def _build(kind: Any, value: Any, where: str) -> Any:
    """Build a value of the annotated type `kind` from TOML, naming the key when it does not fit."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table, written [{where}]")
        hints = typing.get_type_hints(kind)
        if unknown := sorted(set(value) - set(hints)):
            raise ConfigError(
                f"unknown key {where + '.' if where else ''}{unknown[0]}; "
                f"{'table ' + where if where else 'the file'} knows: {', '.join(hints)}"
            )
        built = {
            key: _build(hints[key], item, f"{where}.{key}" if where else key) for key, item in value.items()
        }
        return typing.cast(type, kind)(**built)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is UnionType:
        # TOML has no null: a value that may be None is left out for that.
        kinds = [argument for argument in arguments if argument is not NoneType]
        if len(kinds) == 1:
            return _build(kinds[0], value, where)
        if type(value) in kinds:
            return value
        raise ConfigError(f"{where} must be {' or '.join(_NAMES[kind] for kind in kinds)}, not {value!r}")
    if origin is tuple and isinstance(value, list):
        return tuple(_build(arguments[0], item, where) for item in value)
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} must be one of {', '.join(map(repr, arguments))}, not {value!r}")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind and not (kind is float and not math.isfinite(value)):
        return value
    raise ConfigError(f"{where} must be {_NAMES[origin or kind]}, not {value!r}")
