"""The tables that users can edit: spoken commands (TOML) and profanity (a word a line)."""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from parakeetd.errors import ConfigError
from parakeetd.text.commands import Action, Attach, Command, Commands, attach_of, words_of
from parakeetd.text.profanity import WordList

SHIPPED_COMMANDS: Final = Path(__file__).with_name("commands.toml")
SHIPPED_PROFANITY: Final = Path(__file__).with_name("profanity.txt")


@dataclass(frozen=True, slots=True)
class Tables:
    commands: Mapping[str, Commands]
    """By language, the subtag before the first hyphen of a BCP-47 tag, in the order of the file."""
    profanity: WordList

    def commands_for(self, asked: str, spoken: Sequence[str]) -> Commands | None:
        """The commands of the language that a client asks for, or else the only one that the model knows, or else the
        file's first. None when the file has none of that language.

        Args:
            asked: BCP-47 tag; empty or `multi` for any.
            spoken: the model's languages.
        """
        if asked and asked != "multi":
            return self.commands.get(primary(asked))
        languages = {primary(tag) for tag in spoken}
        if len(languages) == 1:
            return self.commands.get(languages.pop())
        return next(iter(self.commands.values()), None)


def primary(tag: str) -> str:
    """The language of a BCP-47 tag."""
    return tag.replace("_", "-").partition("-")[0].lower()


def read_tables(commands: Path | None = None, profanity: Path | None = None) -> Tables:
    """The tables in these files, or the shipped ones.

    Raises:
        ConfigError: a file cannot be read or used; the message names it and the line or key.
    """
    return Tables(
        _read_commands(commands or SHIPPED_COMMANDS), _read_profanity(profanity or SHIPPED_PROFANITY)
    )


def _read_commands(file: Path) -> dict[str, Commands]:
    try:
        raw = tomllib.loads(_text_of(file, "commands"))
    except ValueError as error:
        raise ConfigError(f"commands {file}: not valid TOML: {error}") from error
    tables: dict[str, Commands] = {}
    for language, entries in raw.items():
        if not isinstance(entries, dict):
            raise ConfigError(f"commands {file}: {language} must be a table of a language, such as [en]")
        if primary(language) in tables:
            raise ConfigError(f"commands {file}: language {primary(language)} is there a second time")
        phrases: dict[tuple[str, ...], Command] = {}
        for phrase, value in entries.items():
            where = f"commands {file}: [{language}] {phrase!r}"
            if not (words := words_of(phrase)):
                raise ConfigError(f"{where}: the phrase has no word that can be spoken")
            if words in phrases:
                raise ConfigError(f"{where}: the phrase is there a second time")
            phrases[words] = _command(value, where)
        tables[primary(language)] = Commands(phrases)
    return tables


def _command(value: Any, where: str) -> Command:
    if isinstance(value, str) and value:
        return Command("write", value, attach_of(value))
    if not isinstance(value, dict):
        raise ConfigError(f'{where} must be a text in quotes, or {{ action = "delete" }} and the like')
    if unknown := sorted(set(value) - {"text", "attach", "action"}):
        raise ConfigError(f"{where}: unknown key {unknown[0]}; known: text, attach, action")
    action: Action = _one_of(Action, value.get("action", "write"), f"{where}: action")
    text = value.get("text", "")
    if not isinstance(text, str) or bool(text) != (action == "write"):
        raise ConfigError(f"{where} must have either a text or an action other than write")
    default = attach_of(text) if text else "none"
    attach: Attach = _one_of(Attach, value.get("attach", default), f"{where}: attach")
    return Command(action, text, attach)


def _one_of(kind: Any, value: Any, where: str) -> Any:
    allowed = typing.get_args(kind)
    if value not in allowed:
        raise ConfigError(f"{where} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _read_profanity(file: Path) -> WordList:
    entries = []
    for number, line in enumerate(_text_of(file, "profanity list").splitlines(), start=1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        if len(entry.split()) > 1 or not entry.removesuffix("*") or "*" in entry[:-1]:
            raise ConfigError(
                f"profanity list {file}: line {number} must be one word, with a * at its end for any ending"
            )
        entries.append(entry)
    return WordList.of(entries)


def _text_of(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{what} {file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {file}: is not UTF-8 text") from error
